package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// keysPer is how many jobs share an ordering key: 10,000 keys for 100,000 jobs.
const keysPer = 10

// limited is what a sort of limit costs.
type limited struct {
	Name          string  `json:"name"`
	JobsPerSecond float64 `json:"jobs_per_second"` // the median of the rounds
	CostPercent   float64 `json:"cost_percent"`    // against the same lanes without

	control *queue.Control
	keyed   bool
	lanes   int // that the jobs are spread over; 0 is one
	against int // the place of what it is compared with
	rates   []float64
}

// severalLanes is over how many lanes the jobs are spread where that matters.
const severalLanes = 10

// inLanes is the place of the sort without limits in several lanes.
const inLanes = 4

// limitsOf are the sorts. No limit binds: what is measured is the counting.
func limitsOf(slots int) []limited {
	lane := queue.Control{Queue: queue.DefaultQueue, Lane: httpapi.DefaultTenant, Weight: 1}
	places, rated := lane, lane
	places.MaxRunning = new(10 * slots)
	rated.Rate, rated.PeriodMS, rated.Burst = new(1_000_000), new(int64(1000)), new(1_000_000)
	return []limited{
		{Name: "no limits"},
		{Name: "max_running on the lane", control: &places},
		{Name: "rate on the lane", control: &rated},
		{Name: "ordering keys", keyed: true},
		{Name: "no limits, ten lanes", lanes: severalLanes, against: inLanes},
		{Name: "ordering keys, ten lanes", lanes: severalLanes, keyed: true, against: inLanes},
	}
}

// benchLimits works the same backlog off with each sort, in turn.
func benchLimits(ctx context.Context, b *bench) error {
	all := limitsOf(b.o.Slots)
	for range b.o.Rounds {
		for i := range all {
			if err := b.withScratch(ctx, func(s *scratch) error { return s.workLimited(ctx, &all[i]) }); err != nil {
				return fmt.Errorf("%s: %w", all[i].Name, err)
			}
		}
	}
	for i := range all {
		l := &all[i]
		slices.Sort(l.rates)
		l.JobsPerSecond = l.rates[len(l.rates)/2]
		if i == l.against {
			continue
		}
		l.CostPercent = 100 * (1 - ratio(l.JobsPerSecond, all[l.against].JobsPerSecond))
		b.report.line("%-36s %9.1f %% of the throughput", "cost of "+l.Name, l.CostPercent)
	}
	b.report.Limits = all
	return nil
}

func (s *scratch) workLimited(ctx context.Context, l *limited) error {
	err := s.withPool(func(db *pg.DB) error {
		if l.control != nil {
			if err := queue.SetControl(ctx, db, *l.control); err != nil {
				return err
			}
		}
		return fill(ctx, db, s.o.Jobs, s.jobsIn(l.keyed, l.lanes))
	})
	if err != nil {
		return err
	}
	f, err := s.workOff(ctx, "worked off, "+l.Name)
	if err != nil {
		return err
	}
	l.rates = append(l.rates, f.JobsPerSecond)
	return nil
}

// jobsIn spreads the jobs over lanes, all of a key in one, and over keys so that the jobs of one key lie far apart, as they do when many senders send.
func (s *scratch) jobsIn(keyed bool, lanes int) maker {
	make := s.jobs()
	keys := max(1, s.o.Jobs/keysPer)
	return func(first, n int) []queue.NewJob {
		all := make(first, n)
		for i := range all {
			key := (first + i) % keys
			if keyed {
				all[i].OrderingKey = strconv.Itoa(key)
			}
			if lanes > 0 {
				all[i].Tenant = "tenant" + strconv.Itoa(key%lanes)
			}
		}
		return all
	}
}
