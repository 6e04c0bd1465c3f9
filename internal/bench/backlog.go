package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// benchInsert inserts a backlog. The jobs are made before the clock starts.
func benchInsert(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) (err error) {
		all := b.jobs()(0, b.o.Jobs)
		label := fmt.Sprintf("jobs inserted, batches of %d", insertBatch)
		b.report.Insert, err = s.measure(ctx, label, func(db *pg.DB) (outcome, error) {
			start := time.Now()
			err := fill(ctx, db, len(all), func(first, n int) []queue.NewJob { return all[first : first+n] })
			return outcome{timed: len(all), took: time.Since(start), jobs: len(all)}, err
		})
		return err
	})
}

// backlog is a figure with the memory that the process took.
type backlog struct {
	*figure
	PeakBytes *int64 `json:"peak_memory_growth_bytes,omitempty"` // nil: the system does not tell
}

// benchBacklog works a backlog off with the real runner.
func benchBacklog(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) (err error) {
		result := &backlog{}
		if err := s.withPool(func(db *pg.DB) error { return fill(ctx, db, b.o.Jobs, b.jobs()) }); err != nil {
			return err
		}
		memory := watchMemory()
		if result.figure, err = s.workOff(ctx, fmt.Sprintf("jobs worked off, %d at once", b.o.Slots)); err != nil {
			return err
		}
		if grown, ok := memory.grown(); ok {
			result.PeakBytes = &grown
			b.report.line("%-36s %.1f MiB with %d jobs of %d bytes waiting", "  memory grew at most by", float64(grown)/(1<<20), b.o.Jobs, b.o.Payload)
		}
		b.report.Backlog = result
		return nil
	})
}

// workOff works the whole backlog off. The clock stops when every outcome is stored.
func (s *scratch) workOff(ctx context.Context, label string) (*figure, error) {
	f, err := s.measure(ctx, label, func(*pg.DB) (outcome, error) {
		start := time.Now()
		w, err := s.startWorker(ctx, s.o.Slots, func(context.Context, jobs.Job) {})
		if err != nil {
			return outcome{}, err
		}
		err = w.finish(ctx, s.o.Jobs)
		return outcome{timed: s.o.Jobs, took: time.Since(start), jobs: s.o.Jobs}, err
	})
	if err != nil {
		return nil, err
	}
	return f, s.withPool(func(db *pg.DB) error { return checkDone(ctx, db, s.o.Jobs) })
}

// benchSustained inserts and works at once.
func benchSustained(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) (err error) {
		jobs := 0
		b.report.Sustained, err = s.measure(ctx, "jobs inserted and worked at once", func(db *pg.DB) (outcome, error) {
			o, err := s.sustain(ctx, db)
			jobs = o.jobs
			return o, err
		})
		if err != nil {
			return err
		}
		return s.withPool(func(db *pg.DB) error { return checkDone(ctx, db, jobs) })
	})
}

// sustain counts what is done while the writers write. What is left then is worked
// off untimed, so that each job's cost is a whole job's.
func (s *scratch) sustain(ctx context.Context, db *pg.DB) (outcome, error) {
	start := time.Now()
	w, err := s.startWorker(ctx, s.o.Slots, func(context.Context, jobs.Job) {})
	if err != nil {
		return outcome{}, err
	}
	deadline := start.Add(time.Duration(s.o.Seconds) * time.Second)
	make := s.jobs()
	var inserted atomic.Int64
	failed := write(ctx, db, func() []queue.NewJob {
		for time.Now().Before(deadline) && ctx.Err() == nil {
			if !pause(ctx, inserted.Load(), w.done()) {
				return make(int(inserted.Add(insertBatch)), insertBatch)
			}
		}
		return nil
	})
	// A writer's last batch may end a little after the deadline. The count sees what
	// was stored when it began, however long it takes.
	result := outcome{took: time.Since(start), jobs: int(inserted.Load())}
	if failed == nil {
		failed = db.GetContext(ctx, &result.timed, `SELECT count(*) FROM signalstack.attempts`)
	}
	if failed != nil {
		return result, errors.Join(failed, w.stop())
	}
	return result, w.finish(ctx, result.jobs)
}
