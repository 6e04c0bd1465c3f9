package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// kindName is the kind of the jobs that are measured.
const kindName = "noop"

// lease of the workers, as it is by default.
const lease = 10 * time.Second

// worker is a real worker with its upkeep, in this process.
type worker struct {
	runner *jobs.Runner
	ran    atomic.Int64
	end    context.CancelFunc
	ended  chan error
}

// startWorker starts a worker of the default queue. Each of its jobs calls run.
func (s *scratch) startWorker(ctx context.Context, slots int, run func(context.Context, jobs.Job)) (*worker, error) {
	db, err := pg.Open(s.url, pg.Options{Role: "work", MaxConns: 20})
	if err != nil {
		return nil, err
	}
	w := &worker{ended: make(chan error, 1)}
	kind := jobs.Kind{
		Name: kindName, Timeout: time.Minute, MaxAttempts: 1,
		Check: func(json.RawMessage, jobs.Later) []fault.Detail { return nil },
		Run: func(ctx context.Context, j jobs.Job) (jobs.Result, error) {
			run(ctx, j)
			w.ran.Add(1)
			return jobs.Result{}, nil
		},
	}
	silent := slog.New(slog.DiscardHandler)
	w.runner = jobs.NewRunner(jobs.RunnerConfig{
		Queues: map[string]int{queue.DefaultQueue: slots}, Lease: lease, Poll: time.Second, FullPass: 10 * time.Second, Grace: 10 * time.Second,
	}, db, db, jobs.NewRegistry(kind), silent)
	ctx, w.end = context.WithCancel(ctx)
	reaper := &queue.Reaper{DB: db, Log: silent, Interval: 2 * time.Second, Lease: lease}
	folder := &analytics.Folder{DB: db, Log: silent}
	go func() {
		var running sync.WaitGroup
		errs := make([]error, 3)
		running.Go(func() { errs[0] = w.runner.Run(ctx) })
		running.Go(func() { errs[1] = reaper.Run(ctx) })
		running.Go(func() { errs[2] = folder.Run(ctx) })
		running.Wait()
		w.ended <- errors.Join(append(errs, db.Close())...)
	}()
	return w, nil
}

// done is how many jobs have their outcome stored. Those in flight count as not
// done, although some may be.
func (w *worker) done() int64 { return max(0, w.ran.Load()-int64(w.runner.InFlight())) }

// stop ends the worker once every outcome is stored.
func (w *worker) stop() error {
	w.end()
	return <-w.ended
}

// finish waits until n jobs have run, and stops the worker.
func (w *worker) finish(ctx context.Context, n int) error {
	// Without progress for this long, something is wrong.
	const patience = 30 * time.Second
	for seen, since := int64(0), time.Now(); ; {
		ran := w.ran.Load()
		if ran > seen {
			seen, since = ran, time.Now()
		}
		if ran >= int64(n) || ctx.Err() != nil || time.Since(since) > patience {
			break
		}
		wait(ctx, time.Millisecond)
	}
	if err := errors.Join(ctx.Err(), w.stop()); err != nil {
		return err
	}
	if ran := w.ran.Load(); ran != int64(n) {
		return fmt.Errorf("%d jobs ran, not %d", ran, n)
	}
	return nil
}

// checkDone asks the database whether n jobs have ended well and none is left.
func checkDone(ctx context.Context, db *pg.DB, n int) error {
	var found struct{ Succeeded, Others int }
	err := db.GetContext(ctx, &found, `
		SELECT (SELECT count(*) FROM signalstack.attempts WHERE state = 'succeeded') AS succeeded,
		       (SELECT count(*) FROM signalstack.attempts WHERE state <> 'succeeded') + (SELECT count(*) FROM signalstack.ready)
		       + (SELECT count(*) FROM signalstack.scheduled) + (SELECT count(*) FROM signalstack.running)
		       + (SELECT count(*) FROM signalstack.ordered) + (SELECT count(*) FROM signalstack.ordering_keys)
		       + (SELECT count(*) FROM signalstack.blocked) AS others`)
	if err != nil {
		return fmt.Errorf("count ended jobs: %w", err)
	}
	if found.Succeeded != n || found.Others != 0 {
		return fmt.Errorf("the database has %d succeeded and %d other jobs, not %d succeeded", found.Succeeded, found.Others, n)
	}
	return nil
}
