package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// fetchCooldown is the value of River's own benchmark. River's default of 100 ms
// would hold its throughput to a fraction.
const fetchCooldown = 2 * time.Millisecond

// eventBuffer is the size of the channel of completions: River drops what does not
// fit. It completes up to 5,000 at once; its own benchmark has room for 75,000.
const eventBuffer = 200_000

// minPayload is the size of the arguments with an empty text.
const minPayload = len(`{"text":""}`)

// noop is the job that is measured. It does nothing.
type noop struct {
	Text string `json:"text"`
}

// Kind implements river.JobArgs.
func (noop) Kind() string { return "noop" }

// noopOf is a job whose encoded arguments have so many bytes.
func noopOf(payload int) noop {
	return noop{Text: strings.Repeat("x", payload-minPayload)}
}

// newBatch is n jobs to insert together.
func newBatch(n, payload int) []river.InsertManyParams {
	batch := make([]river.InsertManyParams, n)
	for i := range batch {
		batch[i] = river.InsertManyParams{Args: noopOf(payload)}
	}
	return batch
}

// worker counts the jobs that it works.
type worker struct {
	river.WorkerDefaults[noop]
	worked  atomic.Int64
	started func(id int64)
}

// Work implements river.Worker.
func (w *worker) Work(_ context.Context, j *river.Job[noop]) error {
	w.started(j.ID)
	w.worked.Add(1)
	return nil
}

// engine is a River client with counts of what it did.
type engine struct {
	*river.Client[pgx.Tx]
	worker    *worker
	completed atomic.Int64 // jobs whose completion is committed
	unwanted  atomic.Int64 // events of jobs that did not just complete
	last      time.Time    // of the last completion; read it after stop
	counted   chan struct{}
}

func newEngine(pool *pgxpool.Pool, o options, workers int, started func(id int64)) (*engine, error) {
	e := &engine{worker: &worker{started: started}, counted: make(chan struct{})}
	bundle := river.NewWorkers()
	river.AddWorker(bundle, e.worker)
	var err error
	e.Client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown: fetchCooldown, FetchPollInterval: o.poll, Logger: slog.New(slog.DiscardHandler),
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}, Workers: bundle,
	})
	if err != nil {
		return nil, fmt.Errorf("make the client: %w", err)
	}
	return e, nil
}

// start starts working. Completions are counted from the client's events, as
// River's own benchmark counts them: an event is sent after the transaction that
// stored the completion, whereas Work returns before it.
func (e *engine) start(ctx context.Context) error {
	events, _ := e.SubscribeConfig(&river.SubscribeConfig{ChanSize: eventBuffer, Kinds: []river.EventKind{
		river.EventKindJobCompleted, river.EventKindJobCancelled, river.EventKindJobFailed, river.EventKindJobSnoozed,
	}})
	go func() {
		defer close(e.counted)
		for event := range events {
			if event.Kind != river.EventKindJobCompleted {
				e.unwanted.Add(1)
				continue
			}
			e.last = time.Now()
			e.completed.Add(1)
		}
	}()
	if err := e.Start(ctx); err != nil {
		return fmt.Errorf("start the client: %w", err)
	}
	return nil
}

// finish waits until n jobs were worked and stops the client, which stores the
// completions that it holds at once rather than at its next tick.
func (e *engine) finish(ctx context.Context, n int) error {
	// Without progress for this long, something is wrong.
	const patience = 30 * time.Second
	for seen, since := int64(0), time.Now(); ; {
		worked := e.worker.worked.Load()
		if worked > seen {
			seen, since = worked, time.Now()
		}
		if worked >= int64(n) || ctx.Err() != nil || time.Since(since) > patience {
			break
		}
		wait(ctx, time.Millisecond)
	}
	if err := e.stop(ctx); err != nil {
		return err
	}
	if completed, unwanted := e.completed.Load(), e.unwanted.Load(); completed != int64(n) || unwanted > 0 {
		return fmt.Errorf("%d of %d jobs were completed, %d ended otherwise", completed, n, unwanted)
	}
	return nil
}

// stop ends the client and its events.
func (e *engine) stop(ctx context.Context) error {
	interrupted := ctx.Err()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		return errors.Join(interrupted, fmt.Errorf("stop the client: %w", err))
	}
	<-e.counted
	return interrupted
}

// checkCompleted asks the database whether all jobs of the table are completed.
func checkCompleted(ctx context.Context, pool *pgxpool.Pool, n int) error {
	var completed, others int
	err := pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE state = 'completed'), count(*) FILTER (WHERE state <> 'completed')
		FROM river_job`).Scan(&completed, &others)
	if err != nil {
		return fmt.Errorf("count completed jobs: %w", err)
	}
	if completed != n || others != 0 {
		return fmt.Errorf("the database has %d completed and %d other jobs, not %d completed", completed, others, n)
	}
	return nil
}
