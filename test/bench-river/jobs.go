package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

const (
	// insertBatch is how many jobs one transaction inserts.
	insertBatch = 1000
	// writers is how many insert at once.
	writers = 2
	// waitingBound pauses the writers of the sustained part, so that the backlog
	// does not grow without end where inserting is faster than working.
	waitingBound = 20_000
)

// benchInsert inserts a backlog.
func benchInsert(ctx context.Context, s *scratch, o options, r *report) (err error) {
	r.Insert, err = s.measure(ctx, r, fmt.Sprintf("River: inserted, batches of %d", insertBatch), func(pool *pgxpool.Pool) (outcome, error) {
		e, err := newEngine(pool, o, o.workers, func(int64) {})
		if err != nil {
			return outcome{}, err
		}
		// The arguments are built before the clock starts, as in our own bench.
		all := newBatch(o.jobs, o.payload)
		start := time.Now()
		err = e.insertAll(ctx, all)
		return outcome{timed: o.jobs, took: time.Since(start), jobs: o.jobs}, err
	})
	return err
}

// insertAll shares the jobs out among the writers, batch by batch.
func (e *engine) insertAll(ctx context.Context, all []river.InsertManyParams) error {
	var next atomic.Int64
	return e.write(ctx, func() []river.InsertManyParams {
		from := int(next.Add(insertBatch)) - insertBatch
		if from >= len(all) {
			return nil
		}
		return all[from:min(from+insertBatch, len(all))]
	})
}

// write inserts from all writers until next has no more for them. InsertManyFast,
// which copies the rows in, is the fastest way that River has.
func (e *engine) write(ctx context.Context, next func() []river.InsertManyParams) error {
	errs := make([]error, writers)
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for batch := next(); len(batch) > 0 && errs[i] == nil; batch = next() {
				if _, err := e.InsertManyFast(ctx, batch); err != nil {
					errs[i] = fmt.Errorf("insert jobs: %w", err)
				}
			}
		})
	}
	writing.Wait()
	return errors.Join(errs...)
}

// benchBacklog works a backlog off.
func benchBacklog(ctx context.Context, s *scratch, o options, r *report) (err error) {
	if err := s.fill(ctx, o); err != nil {
		return err
	}
	r.Backlog, err = s.measure(ctx, r, fmt.Sprintf("River: worked off, %d at once", o.workers), func(pool *pgxpool.Pool) (outcome, error) {
		e, err := newEngine(pool, o, o.workers, func(int64) {})
		if err != nil {
			return outcome{}, err
		}
		start := time.Now()
		if err := e.start(ctx); err != nil {
			return outcome{}, err
		}
		if err := e.finish(ctx, o.jobs); err != nil {
			return outcome{}, err
		}
		// The last completion counts, not how long the client's other parts take to stop.
		return outcome{timed: o.jobs, took: e.last.Sub(start), jobs: o.jobs}, checkCompleted(ctx, pool, o.jobs)
	})
	return err
}

// fill makes sure of the backlog where the part that inserts it did not run.
func (s *scratch) fill(ctx context.Context, o options) error {
	pool, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	var waiting int
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM river_job WHERE state = 'available'`).Scan(&waiting); err != nil {
		return fmt.Errorf("count waiting jobs: %w", err)
	}
	if waiting >= o.jobs {
		return nil
	}
	e, err := newEngine(pool, o, o.workers, func(int64) {})
	if err != nil {
		return err
	}
	return e.insertAll(ctx, newBatch(o.jobs-waiting, o.payload))
}

// benchSustained inserts and works at once.
func benchSustained(ctx context.Context, s *scratch, o options, r *report) (err error) {
	if err := s.reset(ctx); err != nil {
		return err
	}
	r.Sustained, err = s.measure(ctx, r, "River: inserted and worked at once", func(pool *pgxpool.Pool) (outcome, error) {
		e, err := newEngine(pool, o, o.workers, func(int64) {})
		if err != nil {
			return outcome{}, err
		}
		return e.sustain(ctx, pool, o)
	})
	return err
}

// sustain counts what is completed while the writers write. What is left then is
// worked off untimed, so that each job's cost is a whole job's.
func (e *engine) sustain(ctx context.Context, pool *pgxpool.Pool, o options) (outcome, error) {
	batch := newBatch(insertBatch, o.payload)
	start := time.Now()
	if err := e.start(ctx); err != nil {
		return outcome{}, err
	}
	deadline := start.Add(time.Duration(o.seconds) * time.Second)
	var inserted atomic.Int64
	failed := e.write(ctx, func() []river.InsertManyParams {
		for time.Now().Before(deadline) && ctx.Err() == nil {
			if inserted.Load()-e.completed.Load() < waitingBound {
				inserted.Add(insertBatch)
				return batch
			}
			wait(ctx, time.Millisecond)
		}
		return nil
	})
	// A writer's last batch may end a little after the deadline.
	result := outcome{timed: int(e.completed.Load()), took: time.Since(start), jobs: int(inserted.Load())}
	if failed != nil {
		return result, errors.Join(failed, e.stop(ctx))
	}
	if err := e.finish(ctx, result.jobs); err != nil {
		return result, err
	}
	return result, checkCompleted(ctx, pool, result.jobs)
}
