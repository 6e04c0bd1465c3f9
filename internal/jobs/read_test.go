package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// TestAttemptsThatAreShownAreThoseOfTheState reads jobs all the time while they are
// tried.
func TestAttemptsThatAreShownAreThoseOfTheState(t *testing.T) {
	t.Parallel()
	b := start(t, func(ctx context.Context, j jobs.Job) (jobs.Result, error) {
		timer := time.NewTimer(20 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		if j.Attempt < 5 {
			return jobs.Result{}, errors.New("again")
		}
		return jobs.Result{}, nil
	})
	tries := func(j *queue.NewJob) {
		j.MaxAttempts, j.Retry = 5, `{"strategy":"ladder","ladder":["20ms"],"jitter":"none"}`
	}
	for range 10 {
		id := b.add(t, tries)
		for done := false; !done; {
			done = check(t, b, id)
		}
	}
}

// check looks at a job once, and says whether it has ended.
func check(t *testing.T, b *bundle, id uuid.UUID) bool {
	t.Helper()
	job, err := jobs.Get(t.Context(), b.db, id)
	require.NoError(t, err)
	last := ""
	if n := len(job.Attempts); n > 0 {
		last = job.Attempts[n-1].State
	}
	require.Equal(t, job.State == queue.Running, last == string(queue.Running), "%s, last attempt %s", job.State, last)
	if job.State == queue.Retrying {
		require.Equal(t, "retrying", last)
	}
	return job.State.Final()
}
