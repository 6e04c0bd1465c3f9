package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// to gives a job to an endpoint, and with it a lane.
func to(endpoint uuid.UUID) func(*queue.NewJob) {
	return func(j *queue.NewJob) { j.EndpointID = uuid.NullUUID{UUID: endpoint, Valid: true} }
}

func TestReceiverThatHangsGetsFewSlotsAndAHealthyOneAll(t *testing.T) {
	t.Parallel()
	const slots, first = 40, 4
	hanging, healthy := uuid.New(), uuid.New()
	var hangs, most atomic.Int64
	release := make(chan struct{})
	b := start(t, func(ctx context.Context, j jobs.Job) (jobs.Result, error) {
		if j.EndpointID.UUID == healthy {
			return jobs.Result{}, nil
		}
		n := hangs.Add(1)
		defer hangs.Add(-1)
		for before := most.Load(); n > before && !most.CompareAndSwap(before, n); before = most.Load() {
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return jobs.Result{}, errors.New("no answer")
	}, func(c *jobs.RunnerConfig) { c.Queues = map[string]int{"default": slots} })
	var stuck, fine []uuid.UUID
	for range 3 * slots {
		stuck = append(stuck, b.add(t, to(hanging), func(j *queue.NewJob) { j.MaxAttempts = 1 }))
	}
	require.Eventually(t, func() bool { return hangs.Load() == first }, 30*time.Second, 5*time.Millisecond)
	for range 3 * slots {
		fine = append(fine, b.add(t, to(healthy)))
	}
	for _, id := range fine {
		b.await(t, id, queue.Succeeded)
	}
	require.EqualValues(t, first, hangs.Load())
	require.EqualValues(t, first, most.Load(), "the others wait, though slots are free")

	close(release)
	for _, id := range stuck {
		b.await(t, id, queue.Failed)
	}
}

func TestThrottledAttemptIsOnRecordAndDoesNotCount(t *testing.T) {
	t.Parallel()
	var runs atomic.Int64
	b := start(t, func(_ context.Context, j jobs.Job) (jobs.Result, error) {
		if runs.Add(1) <= 4 {
			if j.Attempt != 1 {
				return jobs.Result{}, jobs.Permanentf("attempt %d", j.Attempt)
			}
			return jobs.Result{}, jobs.Throttled(time.Millisecond, errors.New("too many requests"))
		}
		return jobs.Result{}, nil
	})
	job := b.await(t, b.add(t, func(j *queue.NewJob) { j.MaxAttempts = 1 }), queue.Succeeded)
	require.Len(t, job.Attempts, 5)
	for _, a := range job.Attempts[:4] {
		require.Equal(t, 1, a.Attempt)
		require.Equal(t, queue.OutcomeThrottled, a.Outcome)
		require.Equal(t, "too many requests", a.Error)
	}
	require.Equal(t, 1, job.Attempt)
}

func TestThrottlingForEverUsesUpAttempts(t *testing.T) {
	t.Parallel()
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
		return jobs.Result{}, jobs.Throttled(time.Millisecond, errors.New("too many requests"))
	})
	job := b.await(t, b.add(t, func(j *queue.NewJob) { j.MaxAttempts = 3 }), queue.Failed)
	require.Equal(t, 3, job.Attempt)
	require.Len(t, job.Attempts, jobs.MaxSpared+3)
}
