package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

const (
	// healthyRate is how many events a second go to the healthy endpoints together.
	healthyRate = 100
	// firstTime is the least time that the first part beside a broken endpoint takes, and
	// openTime the most: the breaker has opened by then.
	firstTime = 5 * time.Second
	openTime  = 90 * time.Second
	// laneEvery is how often the broken endpoint's running jobs are counted.
	laneEvery = 50 * time.Millisecond
	// turns is how often deliveries are measured alone, and then beside the broken endpoint
	// once its breaker has opened. The middle one by its p95 counts: a p95 of a thousand
	// deliveries on a machine with other work is as high as twice another.
	turns = 3
	// brokenType is the type of the events that the broken endpoint gets.
	brokenType = "bench.broken"
)

// brokenWays are how an endpoint is broken, by the path that does it; of "refuses"
// nobody listens.
var brokenWays = []struct{ name, path string }{
	{"hangs", pathHang}, {"refuses", ""}, {"answers 500", path500}, {"answers 429", path429}, {"answers 429 with Retry-After", path429Wait},
}

// isolated is how long deliveries to healthy endpoints took beside one broken endpoint.
type isolated struct {
	Endpoint string  `json:"broken_endpoint"`
	Waiting  int     `json:"waiting_jobs"`
	Alone    latency `json:"alone"`
	AloneP95 spanMS  `json:"alone_p95"`
	First    beside  `json:"first"`  // until the breaker has opened
	Steady   beside  `json:"steady"` // from then on
	OpenedMS float64 `json:"breaker_opened_after_ms"`
	// SteadyP95 beside AloneP95 tells a difference from what the measure itself varies by.
	SteadyP95 spanMS `json:"steady_p95"`
}

// spanMS is the least and the most of the turns.
type spanMS struct {
	Least float64 `json:"least_ms"`
	Most  float64 `json:"most_ms"`
}

// middle takes the turns of a measurement and gives the middle one by its p95.
func middle[T any](p95 func(T) float64, turn func() (T, error)) (of T, s spanMS, err error) {
	all := make([]T, turns)
	for i := range all {
		if all[i], err = turn(); err != nil {
			return of, s, err
		}
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(p95(a), p95(b)) })
	return all[turns/2], spanMS{p95(all[0]), p95(all[turns-1])}, nil
}

// beside is a part of the time beside the broken endpoint.
type beside struct {
	latency
	RatioP95  float64 `json:"ratio_p95"`
	Attempts  int     `json:"attempts_of_the_broken"` // that arrived
	Slots     float64 `json:"slots_of_the_broken"`    // on average
	SlotsMost int     `json:"slots_of_the_broken_max"`
}

// benchIsolation measures deliveries to healthy endpoints alone, then beside an endpoint
// for which --jobs wait and that is broken, in one way after the other. Slots are those
// that a worker has by default.
func benchIsolation(ctx context.Context, b *bench) error {
	for _, way := range brokenWays {
		err := b.withScratch(ctx, func(s *scratch) error {
			return s.withDelivery(ctx, func(url string, p *poster) error {
				target := p.to.url + way.path
				if way.path == "" {
					target = "http://127.0.0.1:1/"
				}
				return s.isolate(ctx, url, p, way.name, target)
			})
		})
		if err != nil {
			return fmt.Errorf("beside an endpoint that %s: %w", way.name, err)
		}
	}
	return nil
}

func (s *scratch) isolate(ctx context.Context, url string, p *poster, name, target string) error {
	made, err := subscribe(ctx, url, target, brokenType)
	if err != nil {
		return err
	}
	i := &isolated{Endpoint: name, Waiting: s.o.Jobs}
	s.report.line("healthy endpoints beside one that %s", name)
	i.Alone, i.AloneP95, err = middle(func(l latency) float64 { return l.P95 }, func() (latency, error) {
		return s.healthy(ctx, p, until(s.seconds()))
	})
	if err != nil {
		return err
	}
	s.report.latency("  alone", i.Alone)
	if err := s.fillBroken(ctx, url); err != nil {
		return err
	}
	began := time.Now()
	opened := make(chan time.Duration, 1)
	go func() { opened <- s.awaitOpen(ctx, url, made.ID) }()
	first := func() bool { return len(opened) == 0 || time.Since(began) < firstTime }
	if i.First, err = s.beside(ctx, p, made.ID, i.Alone, first); err != nil {
		return err
	}
	i.OpenedMS = inMS(<-opened)
	s.besideLine("  beside it, until it is found out", i.First)
	i.Steady, i.SteadyP95, err = middle(func(b beside) float64 { return b.P95 }, func() (beside, error) {
		return s.beside(ctx, p, made.ID, i.Alone, until(s.seconds()))
	})
	if err != nil {
		return err
	}
	s.besideLine("  beside it, from then on", i.Steady)
	s.report.line("%-36s alone %.1f to %.1f ms, beside it %.1f to %.1f ms", fmt.Sprintf("    p95 of %d turns", turns),
		i.AloneP95.Least, i.AloneP95.Most, i.SteadyP95.Least, i.SteadyP95.Most)
	s.report.line("%-36s %.1f s after its first job; %d of its jobs waited", "  its breaker opened", i.OpenedMS/1000, i.Waiting)
	s.report.Isolation = append(s.report.Isolation, i)
	return nil
}

func (s *scratch) besideLine(label string, b beside) {
	s.report.latency(label, b.latency)
	s.report.line("%-36s p95 %.2f; it had %.2f slots on average, %d at most, and %d attempts", "    times as long", b.RatioP95, b.Slots, b.SlotsMost, b.Attempts)
}

// fillBroken lets the jobs of the broken endpoint wait, and begins with them.
func (s *scratch) fillBroken(ctx context.Context, url string) error {
	pause := func(paused bool) error {
		return ask(ctx, "PATCH", url+"/queues/"+queue.DefaultQueue, fmt.Sprintf(`{"paused":%t}`, paused), &struct{}{})
	}
	if err := pause(true); err != nil {
		return err
	}
	if err := fillArray(ctx, url+"/events", brokenType, s.o.Jobs); err != nil {
		return err
	}
	if err := s.withPool(func(db *pg.DB) error { return settleTables(ctx, db) }); err != nil {
		return err
	}
	return pause(false)
}

// awaitOpen waits until the breaker of an endpoint has opened, and says how long it took.
func (s *scratch) awaitOpen(ctx context.Context, url, id string) time.Duration {
	began := time.Now()
	var e struct {
		Health struct{ State string } `json:"health"`
	}
	for ; ctx.Err() == nil && time.Since(began) < openTime; wait(ctx, 100*time.Millisecond) {
		err := ask(ctx, "GET", url+"/endpoints/"+id, "", &e)
		if err == nil && slices.Contains([]string{"open", "probing"}, e.Health.State) {
			break
		}
	}
	return time.Since(began)
}

// healthy posts events to the healthy endpoints while more says so.
func (s *scratch) healthy(ctx context.Context, p *poster, more func() bool) (latency, error) {
	span, err := p.atRate(ctx, s.o.Connections, healthyRate, more)
	if err != nil {
		return latency{}, err
	}
	took, _, err := p.delivered(ctx, span)
	return latencyOf(took), err
}

// beside is healthy while the running jobs of the broken endpoint are counted.
func (s *scratch) beside(ctx context.Context, p *poster, id string, alone latency, more func() bool) (b beside, err error) {
	counting, stop := context.WithCancel(ctx)
	defer stop()
	var counts []int
	var countErr error
	var running sync.WaitGroup
	running.Go(func() {
		countErr = s.withPool(func(db *pg.DB) (err error) {
			counts, err = countLane(counting, db, queue.EndpointLane(httpapi.DefaultTenant, uuid.MustParse(id)))
			return err
		})
	})
	before := p.to.refusals()
	b.latency, err = s.healthy(ctx, p, more)
	stop()
	running.Wait()
	if err := errors.Join(err, countErr); err != nil {
		return beside{}, err
	}
	b.Attempts, b.RatioP95 = p.to.refusals()-before, ratio(b.P95, alone.P95)
	for _, n := range counts {
		b.Slots += float64(n) / float64(len(counts))
		b.SlotsMost = max(b.SlotsMost, n)
	}
	return b, nil
}

// countLane counts the running jobs of a lane again and again.
func countLane(ctx context.Context, db *pg.DB, lane string) (counts []int, err error) {
	for ; ctx.Err() == nil; wait(ctx, laneEvery) {
		var n int
		if err := db.GetContext(ctx, &n, `SELECT count(*) FROM signalstack.running WHERE lane = $1`, lane); err != nil {
			if ctx.Err() != nil {
				break
			}
			return nil, fmt.Errorf("count the jobs that run for an endpoint: %w", err)
		}
		counts = append(counts, n)
	}
	return counts, nil
}
