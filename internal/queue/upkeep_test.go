package queue_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/queue"
)

func TestScheduledJobsBecomeReadyInTime(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx, stop := context.WithCancel(t.Context())
	p := queue.NewPromoter(db, discard())
	done := make(chan struct{})
	go func() { _ = p.Run(ctx); close(done) }()
	defer func() { stop(); <-done }()
	enqueue(t, db, newJob(func(j *queue.NewJob) { j.Delay = time.Hour }))
	for _, delay := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
		at := time.Now().Add(delay)
		enqueue(t, db, newJob(func(j *queue.NewJob) { j.Delay = delay }))
		p.Wake(at)
		require.Eventually(t, func() bool { return count(t, db, "ready") == 1 }, 10*time.Second, time.Millisecond)
		require.GreaterOrEqual(t, time.Since(at), -5*time.Millisecond)
		require.Less(t, time.Since(at), 500*time.Millisecond)
		require.Len(t, claim(t, claimer(db), 10), 1)
	}
	require.Equal(t, 1, count(t, db, "scheduled"))
}

func TestJobThatKillsItsWorkersIsPutAway(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	poison := newJob(func(j *queue.NewJob) { j.MaxAttempts = 100 })
	enqueue(t, db, poison)
	reaper := &queue.Reaper{DB: db, Log: discard(), Interval: 5 * time.Millisecond, Lease: 30 * time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = reaper.Run(ctx); close(done) }()
	defer func() { stop(); <-done }()
	for range 3 {
		require.Eventually(t, func() bool { return len(claim(t, claimer(db), 1)) == 1 }, 10*time.Second, 5*time.Millisecond)
		_, err := db.ExecContext(t.Context(), `UPDATE signalstack.running SET lease_until = now() - interval '1 second'`)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return count(t, db, "running") == 0 }, 10*time.Second, 5*time.Millisecond)
	}
	require.Equal(t, 0, count(t, db, "ready"))
	require.Equal(t, 1, count(t, db, "attempts WHERE state = 'failed' AND error LIKE 'Quarantined:%'"))
}

func TestOneWorkerLeadsAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	leading := make(chan uuid.UUID, 10)
	lead := func(ctx context.Context) (uuid.UUID, chan struct{}) {
		l := &queue.Leader{DB: db, Log: discard(), Duty: "test", Worker: uuid.New(), Lease: 300 * time.Millisecond}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = l.Run(ctx, func(ctx context.Context) error {
				leading <- l.Worker
				<-ctx.Done()
				return nil
			})
		}()
		return l.Worker, done
	}
	ctx, stop := context.WithCancel(t.Context())
	first, done := lead(ctx)
	require.Equal(t, first, <-leading)
	other, stopOther := context.WithCancel(t.Context())
	second, otherDone := lead(other)
	stop()
	<-done
	require.Equal(t, second, <-leading, "given up at the end")
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.leaders SET worker = $1, lease_until = now() + interval '400 milliseconds'`, uuid.New())
	require.NoError(t, err)
	require.Equal(t, second, <-leading, "taken over when it ran out")
	stopOther()
	<-otherDone
}
