package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// A job that is older than its receiver lets it become has its whole policy again once
// an operator takes it up.
func TestAgeCountsFromWhenAJobWasTakenUpAgain(t *testing.T) {
	t.Parallel()
	policy := jobs.Policy{Strategy: "ladder", Ladder: []string{"1ms"}, Jitter: "none"}
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
		return jobs.Result{}, jobs.WithPolicy(jobs.Override{Retry: &policy, MaxAge: time.Hour}, errors.New("no"))
	})
	id := b.add(t, func(j *queue.NewJob) { j.Retry, j.Delay = "", 10*time.Minute })
	_, err := b.db.ExecContext(t.Context(), `UPDATE signalstack.jobs SET created_at = now() - interval '2 hours'`)
	require.NoError(t, err)
	now := time.Now()
	require.NoError(t, queue.Change{RunAt: &now}.Apply(t.Context(), b.db, id))
	require.Len(t, b.await(t, id, queue.Failed).Attempts, 1, "it is too old for another one")
	for life := range 2 {
		require.NoError(t, queue.Retry(t.Context(), b.db, id))
		require.Eventually(t, func() bool {
			job, err := jobs.Get(context.Background(), b.db, id)
			return err == nil && job.State == queue.Failed && len(job.Attempts) == 1+3*(life+1)
		}, 15*time.Second, 10*time.Millisecond)
	}
}

// Attempts that a receiver turns away are spared anew.
func TestThrottledAttemptsAreSparedAgainOnceAJobIsTakenUp(t *testing.T) {
	t.Parallel()
	b := start(t, func(_ context.Context, j jobs.Job) (jobs.Result, error) {
		return jobs.Result{}, jobs.Throttled(time.Millisecond, errors.New("later"))
	})
	id := b.add(t)
	const life = jobs.MaxSpared + 3 // and then three attempts that count
	require.Len(t, b.await(t, id, queue.Failed).Attempts, life)
	require.NoError(t, queue.Retry(t.Context(), b.db, id))
	require.Eventually(t, func() bool {
		job, err := jobs.Get(context.Background(), b.db, id)
		return err == nil && job.State == queue.Failed && len(job.Attempts) == 2*life
	}, 30*time.Second, 20*time.Millisecond)
}
