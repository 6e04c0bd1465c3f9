package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/jobs"
)

// benchPickup measures the time from the commit of a job to the start of its
// attempt, at several steady rates. Jobs are sent by the clock, whether or not the
// ones before were picked up.
func benchPickup(ctx context.Context, s *scratch, o Options) error {
	for _, rate := range []int{20, 100, 300} {
		if err := s.pickup(ctx, o, rate); err != nil {
			return err
		}
	}
	return nil
}

func (s *scratch) pickup(ctx context.Context, o Options, rate int) error {
	var mu sync.Mutex
	started := map[uuid.UUID]time.Time{}
	committed := map[uuid.UUID]time.Time{}
	kind := noopKind(func(j jobs.Job) {
		at := time.Now()
		mu.Lock()
		defer mu.Unlock()
		started[j.ID] = at
	})
	n := rate * o.Seconds
	var failed error
	err := s.work(ctx, 100, kind, func() {
		// The worker's LISTEN is up and its first full pass is over.
		wait(ctx, 500*time.Millisecond)
		failed = s.sendSteadily(ctx, rate, n, func(id uuid.UUID) {
			at := time.Now()
			mu.Lock()
			defer mu.Unlock()
			committed[id] = at
		})
		for range 100 {
			mu.Lock()
			all := len(started) == n
			mu.Unlock()
			if all || failed != nil {
				break
			}
			wait(ctx, 100*time.Millisecond)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	var took []time.Duration
	for id, at := range committed {
		if begun, ok := started[id]; ok {
			// A worker may start before the sender learns of its own commit.
			took = append(took, max(0, begun.Sub(at)))
		}
	}
	if len(took) < n {
		return fmt.Errorf("only %d of %d jobs were picked up", len(took), n)
	}
	slices.Sort(took)
	at := func(p float64) float64 { return float64(took[int(p*float64(len(took)-1))].Microseconds()) / 1000 }
	fmt.Fprintf(o.Out, "%-34s p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms\n",
		fmt.Sprintf("pickup at %d jobs/s", rate), at(0.50), at(0.95), at(0.99), at(1))
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// sendSteadily inserts n single jobs at a rate and reports each commit.
func (s *scratch) sendSteadily(ctx context.Context, rate, n int, committed func(uuid.UUID)) error {
	all := newJobs(n, 110)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var sending sync.WaitGroup
	errs := make([]error, n)
	for i := range all {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		sending.Go(func() {
			if errs[i] = s.insert(ctx, all[i:i+1]); errs[i] == nil {
				committed(all[i].ID)
			}
		})
	}
	sending.Wait()
	return errors.Join(errs...)
}
