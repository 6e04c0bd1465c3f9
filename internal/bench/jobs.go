package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// insertBatch is how many jobs one transaction inserts.
const insertBatch = 1000

func newJobs(n, payload int) []queue.NewJob {
	body := []byte(`"` + string(bytes.Repeat([]byte("x"), max(0, payload-2))) + `"`)
	all := make([]queue.NewJob, n)
	for i := range all {
		all[i] = queue.NewJob{
			ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: "noop", Queue: queue.DefaultQueue,
			Priority: queue.DefaultPriority, Payload: body, MaxAttempts: 1, Timeout: time.Minute,
		}
	}
	return all
}

func (s *scratch) insert(ctx context.Context, all []queue.NewJob) error {
	for batch := range slices.Chunk(all, insertBatch) {
		err := pg.InTx(ctx, s.db, func(tx *sqlx.Tx) error { return jobs.Write(ctx, tx, batch) })
		if err != nil {
			return err
		}
	}
	return nil
}

// benchInsert inserts a backlog with two writers.
func benchInsert(ctx context.Context, s *scratch, o Options) error {
	all := newJobs(o.Jobs, o.Payload)
	return s.measure(ctx, o, fmt.Sprintf("jobs inserted, batches of %d", insertBatch), func() (int, error) {
		return len(all), s.insertBy(ctx, 2, all)
	})
}

func (s *scratch) insertBy(ctx context.Context, writers int, all []queue.NewJob) error {
	errs := make(chan error, writers)
	for part := range slices.Chunk(all, (len(all)+writers-1)/writers) {
		go func() { errs <- s.insert(ctx, part) }()
	}
	for range min(writers, len(all)) {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// benchWork works a backlog off with the real runner.
func benchWork(ctx context.Context, s *scratch, o Options) error {
	var waiting int
	if err := s.db.GetContext(ctx, &waiting, `SELECT count(*) FROM signalstack.ready`); err != nil {
		return err
	}
	if waiting < o.Jobs {
		if err := s.insertBy(ctx, 2, newJobs(o.Jobs-waiting, o.Payload)); err != nil {
			return err
		}
		waiting = o.Jobs
	}
	var done atomic.Int64
	finished := make(chan struct{})
	noop := noopKind(func(jobs.Job) {
		if done.Add(1) == int64(waiting) {
			close(finished)
		}
	})
	return s.measure(ctx, o, fmt.Sprintf("jobs worked off, %d at once", o.Slots), func() (int, error) {
		return waiting, s.work(ctx, o.Slots, noop, func() { <-finished })
	})
}

func noopKind(run func(jobs.Job)) jobs.Kind {
	return jobs.Kind{
		Name: "noop", Timeout: time.Minute, MaxAttempts: 1,
		Check: func(json.RawMessage, bool) []fault.Detail { return nil },
		Run: func(_ context.Context, j jobs.Job) (jobs.Result, error) {
			run(j)
			return jobs.Result{}, nil
		},
	}
}

// work runs a worker until wait returns and every outcome is stored.
func (s *scratch) work(ctx context.Context, slots int, kind jobs.Kind, wait func()) error {
	db, err := pg.Open(s.url, pg.Options{Role: "work", MaxConns: 20})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	runner := jobs.NewRunner(jobs.RunnerConfig{
		Queues: map[string]int{queue.DefaultQueue: slots}, Lease: 10 * time.Second, Poll: time.Second,
		FullPass: 10 * time.Second, Grace: 10 * time.Second,
	}, db, db, jobs.NewRegistry(kind), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { err = runner.Run(ctx) })
	wait()
	stop()
	running.Wait()
	return err
}
