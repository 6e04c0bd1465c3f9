package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pickupWorkers is how many jobs may run at once in this part, as in our own bench.
const pickupWorkers = 100

// times of the jobs of one rate, by ID.
type times struct {
	mu        sync.Mutex
	committed map[int64]time.Time
	started   map[int64]time.Time
}

// note keeps the present as a job's time in one of the maps.
func (t *times) note(in map[int64]time.Time, id int64) {
	at := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	in[id] = at
}

// benchPickup measures the time from the commit of a job to the start of its
// work, at several steady rates. Jobs are sent by the clock, whether or not the
// ones before were picked up.
func benchPickup(ctx context.Context, s *scratch, o options, r *report) error {
	if err := s.reset(ctx); err != nil {
		return err
	}
	for _, rate := range []int{20, 100, 300} {
		took, err := s.pickup(ctx, o, rate)
		if err != nil {
			return err
		}
		r.pickup(rate, took)
	}
	return nil
}

func (s *scratch) pickup(ctx context.Context, o options, rate int) ([]time.Duration, error) {
	pool, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	t := &times{committed: map[int64]time.Time{}, started: map[int64]time.Time{}}
	e, err := newEngine(pool, o, pickupWorkers, func(id int64) { t.note(t.started, id) })
	if err != nil {
		return nil, err
	}
	if err := e.start(ctx); err != nil {
		return nil, err
	}
	// The client's LISTEN is up and its leader is elected by then.
	wait(ctx, 500*time.Millisecond)
	n := rate * o.seconds
	if err := e.sendSteadily(ctx, rate, n, o.payload, func(id int64) { t.note(t.committed, id) }); err != nil {
		return nil, errors.Join(err, e.stop(ctx))
	}
	if err := e.finish(ctx, n); err != nil {
		return nil, err
	}
	return t.took(n)
}

func (t *times) took(n int) ([]time.Duration, error) {
	var all []time.Duration
	for id, at := range t.committed {
		if begun, ok := t.started[id]; ok {
			// A worker may start before the sender learns of its own commit.
			all = append(all, max(0, begun.Sub(at)))
		}
	}
	if len(all) < n {
		return nil, fmt.Errorf("only %d of %d jobs were picked up", len(all), n)
	}
	return all, nil
}

// sendSteadily inserts n single jobs at a rate and reports each commit.
func (e *engine) sendSteadily(ctx context.Context, rate, n, payload int, committed func(int64)) error {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var sending sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		select {
		case <-ctx.Done():
			sending.Wait()
			return ctx.Err()
		case <-tick.C:
		}
		sending.Go(func() {
			result, err := e.Insert(ctx, noopOf(payload), nil)
			if err != nil {
				errs[i] = fmt.Errorf("insert a job: %w", err)
				return
			}
			committed(result.Job.ID)
		})
	}
	sending.Wait()
	return errors.Join(errs...)
}
