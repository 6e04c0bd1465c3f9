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
	// warmTime is for how long deliveries are made before any is measured.
	warmTime = 2 * time.Second
	// laneEvery is how often the broken endpoint's running jobs are counted.
	laneEvery = 50 * time.Millisecond
	// turns is how often deliveries are measured alone and, right after, beside the broken
	// endpoint once its breaker has opened. The turn with the middle ratio of the two counts:
	// from one minute to the next a p95 on a machine with other work is as high as twice
	// another, with nothing broken.
	turns = 5
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
	Endpoint string    `json:"broken_endpoint"`
	Waiting  int       `json:"waiting_jobs"`
	First    compared  `json:"first"`  // until the breaker has opened
	Steady   compared  `json:"steady"` // from then on, the turn with the middle ratio
	Ratios   []float64 `json:"steady_ratios_p95"`
	OpenedMS float64   `json:"breaker_opened_after_ms"`
}

// compared is a part of the time beside the broken endpoint, and deliveries alone right
// before it.
type compared struct {
	Alone    latency `json:"alone"`
	Beside   beside  `json:"beside"`
	RatioP95 float64 `json:"ratio_p95"`
}

// beside is a part of the time beside the broken endpoint.
type beside struct {
	latency
	Attempts  int     `json:"attempts_of_the_broken"` // that arrived
	Slots     float64 `json:"slots_of_the_broken"`    // on average
	SlotsMost int     `json:"slots_of_the_broken_max"`
}

// benchIsolation measures deliveries to healthy endpoints alone, and beside an endpoint
// for which --jobs wait and that is broken, in one way after the other: in two processes
// with databases of their own, so that both can be measured in turn. Slots are those that
// a worker has by default.
func benchIsolation(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(quiet *scratch) error {
		return quiet.withDelivery(ctx, func(_ string, alone *poster) error {
			for _, way := range brokenWays {
				err := b.withScratch(ctx, func(s *scratch) error {
					return s.withDelivery(ctx, func(url string, p *poster) error {
						target := p.to.url + way.path
						if way.path == "" {
							target = "http://127.0.0.1:1/"
						}
						made, err := subscribe(ctx, url, target, brokenType)
						if err != nil {
							return err
						}
						i := &isolation{scratch: s, url: url, broken: made.ID, alone: alone, beside: p}
						return i.measure(ctx, way.name)
					})
				})
				if err != nil {
					return fmt.Errorf("beside an endpoint that %s: %w", way.name, err)
				}
			}
			return nil
		})
	})
}

// isolation is a process with a broken endpoint, and one without.
type isolation struct {
	*scratch
	url           string
	broken        string // id of the endpoint
	alone, beside *poster
}

func (i *isolation) measure(ctx context.Context, name string) error {
	result := &isolated{Endpoint: name, Waiting: i.o.Jobs}
	i.report.line("healthy endpoints beside one that %s", name)
	for _, p := range []*poster{i.alone, i.beside} { // the first deliveries of a process open connections and make plans
		if _, err := i.healthy(ctx, p, until(warmTime)); err != nil {
			return err
		}
	}
	if err := i.fill(ctx); err != nil {
		return err
	}
	opened := make(chan time.Duration, 1)
	var err error
	if result.First, err = i.compare(ctx, func() func() bool {
		began := time.Now()
		go func() { opened <- i.awaitOpen(ctx) }()
		return func() bool { return len(opened) == 0 || time.Since(began) < firstTime }
	}); err != nil {
		return err
	}
	result.OpenedMS = inMS(<-opened)
	i.line("  until it is found out", result.First)
	all := make([]compared, turns)
	for n := range all {
		if all[n], err = i.compare(ctx, func() func() bool { return until(i.seconds()) }); err != nil {
			return err
		}
	}
	slices.SortFunc(all, func(a, b compared) int { return cmp.Compare(a.RatioP95, b.RatioP95) })
	for _, turn := range all {
		result.Ratios = append(result.Ratios, turn.RatioP95)
	}
	result.Steady = all[turns/2]
	i.line("  from then on", result.Steady)
	i.report.line("%-36s p95 %.2f to %.2f", fmt.Sprintf("    in %d turns, times as long", turns), result.Ratios[0], result.Ratios[turns-1])
	i.report.line("%-36s %.1f s after its first job; %d of its jobs waited", "  its breaker opened", result.OpenedMS/1000, result.Waiting)
	i.report.Isolation = append(i.report.Isolation, result)
	return nil
}

// compare measures deliveries alone, while the jobs of the broken endpoint are held, and
// then beside them, for as long as the function that begin gives says so.
func (i *isolation) compare(ctx context.Context, begin func() func() bool) (c compared, err error) {
	if err := i.hold(ctx, true); err != nil {
		return c, err
	}
	if c.Alone, err = i.healthy(ctx, i.alone, until(i.seconds())); err != nil {
		return c, err
	}
	if err := i.hold(ctx, false); err != nil {
		return c, err
	}
	if c.Beside, err = i.deliverBeside(ctx, begin()); err != nil {
		return c, err
	}
	c.RatioP95 = ratio(c.Beside.P95, c.Alone.P95)
	return c, nil
}

func (i *isolation) line(label string, c compared) {
	i.report.latency(label+", alone", c.Alone)
	i.report.latency(label+", beside it", c.Beside.latency)
	i.report.line("%-36s p95 %.2f; it had %.2f slots on average, %d at most, and %d attempts", "    times as long", c.RatioP95, c.Beside.Slots, c.Beside.SlotsMost, c.Beside.Attempts)
}

// hold pauses the queue of the process with the broken endpoint, or lets it go on.
func (i *isolation) hold(ctx context.Context, paused bool) error {
	return ask(ctx, "PATCH", i.url+"/queues/"+queue.DefaultQueue, fmt.Sprintf(`{"paused":%t}`, paused), &struct{}{})
}

// fill lets the jobs of the broken endpoint wait.
func (i *isolation) fill(ctx context.Context) error {
	if err := i.hold(ctx, true); err != nil {
		return err
	}
	if err := fillArray(ctx, i.url+"/events", brokenType, i.o.Jobs); err != nil {
		return err
	}
	return i.withPool(func(db *pg.DB) error { return settleTables(ctx, db) })
}

// awaitOpen waits until the breaker of an endpoint has opened, and says how long it took.
func (i *isolation) awaitOpen(ctx context.Context) time.Duration {
	began := time.Now()
	var e struct {
		Health struct{ State string } `json:"health"`
	}
	for ; ctx.Err() == nil && time.Since(began) < openTime; wait(ctx, 100*time.Millisecond) {
		err := ask(ctx, "GET", i.url+"/endpoints/"+i.broken, "", &e)
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

// deliverBeside is healthy while the running jobs of the broken endpoint are counted.
func (i *isolation) deliverBeside(ctx context.Context, more func() bool) (b beside, err error) {
	counting, stop := context.WithCancel(ctx)
	defer stop()
	var counts []int
	var countErr error
	var running sync.WaitGroup
	running.Go(func() {
		countErr = i.withPool(func(db *pg.DB) (err error) {
			counts, err = countLane(counting, db, queue.EndpointLane(httpapi.DefaultTenant, uuid.MustParse(i.broken)))
			return err
		})
	})
	before := i.beside.to.refusals()
	b.latency, err = i.healthy(ctx, i.beside, more)
	stop()
	running.Wait()
	if err := errors.Join(err, countErr); err != nil {
		return beside{}, err
	}
	b.Attempts = i.beside.to.refusals() - before
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
