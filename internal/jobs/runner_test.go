package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// bundle is a database with a worker whose kind "test" is the test's own function.
type bundle struct {
	db     *pg.DB
	runner *jobs.Runner
	cut    chan struct{}
	stop   context.CancelFunc
	done   chan struct{}
}

type option func(*jobs.RunnerConfig)

func start(t *testing.T, run func(context.Context, jobs.Job) (jobs.Result, error), options ...option) *bundle {
	t.Helper()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	return startOn(t, db, run, options...)
}

func startOn(t *testing.T, db *pg.DB, run func(context.Context, jobs.Job) (jobs.Result, error), options ...option) *bundle {
	t.Helper()
	b := &bundle{db: db, cut: make(chan struct{}), done: make(chan struct{})}
	cfg := jobs.RunnerConfig{
		Queues: map[string]int{"default": 10}, Lease: 2 * time.Second, Poll: 50 * time.Millisecond, FullPass: time.Second,
		Grace: 10 * time.Second, Cut: b.cut,
	}
	for _, o := range options {
		o(&cfg)
	}
	kind := jobs.Kind{
		Name: "test", Timeout: time.Minute, MaxAttempts: 3, Run: run,
		Check: func(json.RawMessage, jobs.Later) []fault.Detail { return nil },
	}
	b.runner = jobs.NewRunner(cfg, db, db, jobs.NewRegistry(kind), slog.New(slog.DiscardHandler))
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	go func() {
		defer close(b.done)
		_ = b.runner.Run(ctx)
	}()
	t.Cleanup(func() { b.stop(); <-b.done })
	return b
}

func (b *bundle) add(t *testing.T, change ...func(*queue.NewJob)) uuid.UUID {
	t.Helper()
	j := queue.NewJob{
		ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: "test", Queue: "default", Priority: 2,
		MaxAttempts: 3, Timeout: time.Minute, Retry: `{"strategy":"ladder","ladder":["1ms"],"jitter":"none"}`,
	}
	for _, c := range change {
		c(&j)
	}
	require.NoError(t, pg.InTx(t.Context(), b.db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, []queue.NewJob{j}) }))
	return j.ID
}

// await waits for a job to be in a state; the database tells no one, so it polls.
func (b *bundle) await(t *testing.T, id uuid.UUID, state queue.State) jobs.Detailed {
	t.Helper()
	var job jobs.Detailed
	require.Eventually(t, func() bool {
		var err error
		job, err = jobs.Get(context.Background(), b.db, id)
		return err == nil && job.State == state
	}, 15*time.Second, 10*time.Millisecond, "job %s should become %s, is %s", id, state, job.State)
	return job
}

func TestAttemptsAreOnRecordUntilTheJobSucceeds(t *testing.T) {
	t.Parallel()
	b := start(t, func(_ context.Context, j jobs.Job) (jobs.Result, error) {
		if j.Attempt < 3 {
			return jobs.Result{}, errors.New("not yet\x00\xff")
		}
		return jobs.Result{Exchange: &jobs.Exchange{Method: "POST", URL: "http://x", Status: 204}}, nil
	})
	job := b.await(t, b.add(t), queue.Succeeded)
	require.Len(t, job.Attempts, 3)
	require.Equal(t, []string{"retrying", "retrying", "succeeded"}, []string{job.Attempts[0].State, job.Attempts[1].State, job.Attempts[2].State})
	require.Equal(t, "not yet\uFFFD\uFFFD", job.Attempts[0].Error, "what PostgreSQL cannot store is replaced")
	var exchange jobs.Exchange
	require.NoError(t, json.Unmarshal(job.Attempts[2].Exchange, &exchange))
	require.Equal(t, jobs.Exchange{Method: "POST", URL: "http://x", Status: 204}, exchange)
	require.NotNil(t, job.FinishedAt)
}

func TestAttemptsRunOutAndPermanentErrorsGiveUp(t *testing.T) {
	t.Parallel()
	b := start(t, func(_ context.Context, j jobs.Job) (jobs.Result, error) {
		if string(j.Payload) == `"permanent"` {
			return jobs.Result{}, jobs.Permanentf("never")
		}
		return jobs.Result{}, errors.New("no")
	})
	spent := b.await(t, b.add(t), queue.Failed)
	require.Len(t, spent.Attempts, 3)
	require.Equal(t, "no", *spent.LastError)
	permanent := b.await(t, b.add(t, func(j *queue.NewJob) { j.Payload = []byte(`"permanent"`) }), queue.Failed)
	require.Len(t, permanent.Attempts, 1)
	require.Equal(t, queue.OutcomePermanent, permanent.Attempts[0].Outcome)
}

func TestPanicIsAFailedAttemptWithItsStack(t *testing.T) {
	t.Parallel()
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) { panic("boom") })
	job := b.await(t, b.add(t, func(j *queue.NewJob) { j.MaxAttempts = 1 }), queue.Failed)
	require.Equal(t, queue.OutcomePanic, job.Attempts[0].Outcome)
	require.Contains(t, job.Attempts[0].Error, "panic: boom")
	require.Contains(t, job.Attempts[0].Error, "runner_test.go")
}

func TestAttemptEndsAtTheTimeout(t *testing.T) {
	t.Parallel()
	b := start(t, func(ctx context.Context, _ jobs.Job) (jobs.Result, error) {
		<-ctx.Done()
		return jobs.Result{}, ctx.Err()
	})
	job := b.await(t, b.add(t, func(j *queue.NewJob) { j.MaxAttempts, j.Timeout = 1, 50*time.Millisecond }), queue.Failed)
	require.Equal(t, queue.OutcomeTimeout, job.Attempts[0].Outcome)
}

func TestRetryWaitsAtLeastAsLongAsAsked(t *testing.T) {
	t.Parallel()
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
		return jobs.Result{}, jobs.RetryAfter(time.Hour, errors.New("busy"))
	})
	job := b.await(t, b.add(t), queue.Retrying)
	require.WithinDuration(t, time.Now().Add(time.Hour), *job.NextAttemptAt, time.Minute)
}

func TestLongJobKeepsItsLease(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var runs atomic.Int32
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
		runs.Add(1)
		<-release
		return jobs.Result{}, nil
	}, func(c *jobs.RunnerConfig) { c.Lease = time.Second })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reaper := &queue.Reaper{DB: b.db, Log: slog.New(slog.DiscardHandler), Interval: 50 * time.Millisecond, Lease: time.Second}
	go func() { _ = reaper.Run(ctx) }()
	id := b.add(t)
	// Three extensions past the first lease mean that the heartbeat carries it.
	require.Eventually(t, func() bool {
		var extended bool
		err := b.db.GetContext(t.Context(), &extended,
			`SELECT coalesce(bool_or(lease_until > started_at + interval '3 seconds'), false) FROM signalstack.running WHERE job_id = $1`, id)
		return err == nil && extended
	}, 15*time.Second, 20*time.Millisecond)
	close(release)
	b.await(t, id, queue.Succeeded)
	require.Equal(t, int32(1), runs.Load())
}

func TestLostLeaseCancelsTheAttemptAndDropsItsOutcome(t *testing.T) {
	t.Parallel()
	var canceled, runs atomic.Int32
	b := start(t, func(ctx context.Context, _ jobs.Job) (jobs.Result, error) {
		if runs.Add(1) > 1 {
			return jobs.Result{}, nil
		}
		<-ctx.Done()
		canceled.Add(1)
		return jobs.Result{}, ctx.Err()
	}, func(c *jobs.RunnerConfig) { c.Lease = 600 * time.Millisecond })
	id := b.add(t)
	b.await(t, id, queue.Running)
	// Another worker's reaper takes the job away.
	require.NoError(t, pg.InTx(t.Context(), b.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(t.Context(), `DELETE FROM signalstack.running WHERE job_id = $1`, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), `INSERT INTO signalstack.ready VALUES ($1, 'default', 'default', 2, now(), 1, 1)`, id)
		return err
	}))
	job := b.await(t, id, queue.Succeeded)
	require.Len(t, job.Attempts, 1, "the first attempt's outcome was dropped")
	require.Equal(t, 2, job.Attempts[0].Attempt)
	require.Eventually(t, func() bool { return canceled.Load() == 1 && b.runner.Stale() == 1 }, 10*time.Second, 10*time.Millisecond)
}

func TestShutdownFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	running, release := make(chan struct{}), make(chan struct{})
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
		close(running)
		<-release
		return jobs.Result{}, nil
	})
	id := b.add(t)
	<-running
	b.stop()
	later := b.add(t)
	close(release)
	<-b.done
	job, err := jobs.Get(t.Context(), b.db, id)
	require.NoError(t, err)
	require.Equal(t, queue.Succeeded, job.State)
	job, err = jobs.Get(t.Context(), b.db, later)
	require.NoError(t, err)
	require.Equal(t, queue.Pending, job.State, "nothing is claimed after the stop")
}

func TestShutdownHandsBackWithoutBurningAnAttempt(t *testing.T) {
	t.Parallel()
	running := make(chan struct{})
	b := start(t, func(ctx context.Context, _ jobs.Job) (jobs.Result, error) {
		close(running)
		<-ctx.Done()
		return jobs.Result{}, ctx.Err()
	})
	id := b.add(t)
	<-running
	b.stop()
	close(b.cut) // the second signal
	<-b.done
	job, err := jobs.Get(t.Context(), b.db, id)
	require.NoError(t, err)
	require.Equal(t, queue.Pending, job.State)
	require.Equal(t, 0, job.Attempt)
	require.Empty(t, job.Attempts)
}

func TestUnknownKindIsLeftForAnotherBinary(t *testing.T) {
	t.Parallel()
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil })
	id := b.add(t, func(j *queue.NewJob) { j.Kind = "tomorrow" })
	job := b.await(t, id, queue.Scheduled)
	require.Equal(t, 0, job.Attempt)
	require.Empty(t, job.Attempts)
}

func TestNotificationStartsAJobBeforeThePoll(t *testing.T) {
	t.Parallel()
	ran := make(chan struct{}, 10)
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
		ran <- struct{}{}
		return jobs.Result{}, nil
	}, func(c *jobs.RunnerConfig) { c.Poll = time.Hour })
	for range 5 { // each after the one before, so each needs a wake-up of its own
		b.add(t)
		select {
		case <-ran:
		case <-time.After(10 * time.Second):
			t.Fatal("not picked up")
		}
	}
}

func TestOutageOfTheDatabaseLosesNoAttempt(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	db := pgtest.Open(t, dsn)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	running, release := make(chan struct{}, 100), make(chan struct{})
	var once sync.Once
	b := startOn(t, db, func(context.Context, jobs.Job) (jobs.Result, error) {
		running <- struct{}{}
		<-release
		return jobs.Result{}, nil
	})
	ids := []uuid.UUID{b.add(t), b.add(t), b.add(t)}
	for range ids {
		<-running
	}
	// Every connection is cut again and again while the outcomes are stored.
	killer, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	other := pgtest.Open(t, dsn)
	for killer.Err() == nil {
		_, _ = other.ExecContext(killer, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		once.Do(func() { close(release) })
	}
	for _, id := range ids {
		job := b.await(t, id, queue.Succeeded)
		require.Len(t, job.Attempts, 1)
		require.Equal(t, 1, job.Attempt)
	}
	b.await(t, b.add(t), queue.Succeeded)
}
