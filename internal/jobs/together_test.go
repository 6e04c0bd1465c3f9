package jobs_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// attempts are the sets of jobs that were done together, in the order of the attempts.
type attempts struct {
	mu  sync.Mutex
	all [][]uuid.UUID
}

func (a *attempts) add(together []jobs.Job) (nth int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := make([]uuid.UUID, len(together))
	for i, j := range together {
		ids[i] = j.ID
	}
	slices.SortFunc(ids, func(x, y uuid.UUID) int { return slices.Compare(x[:], y[:]) })
	a.all = append(a.all, ids)
	return len(a.all)
}

func (a *attempts) seen() [][]uuid.UUID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// together is a kind's Run that does up to most jobs at once.
func together(most int, run jobs.RunTogether) func(context.Context, jobs.Job) (jobs.Result, error) {
	return func(ctx context.Context, job jobs.Job) (jobs.Result, error) { return job.Together(ctx, most, run) }
}

var lane = uuid.NullUUID{UUID: uuid.Must(uuid.NewV7()), Valid: true}

// inLane puts a job into the lane of an endpoint, waiting for company.
func inLane(wait time.Duration) func(*queue.NewJob) {
	return func(j *queue.NewJob) { j.EndpointID, j.Delay, j.Gathers = lane, wait, wait > 0 }
}

func sorted(ids ...uuid.UUID) []uuid.UUID {
	slices.SortFunc(ids, func(x, y uuid.UUID) int { return slices.Compare(x[:], y[:]) })
	return ids
}

func TestJobsThatWaitForCompanyAreDoneTogetherAndTriedAgainTogether(t *testing.T) {
	t.Parallel()
	var made attempts
	b := start(t, together(100, func(_ context.Context, all []jobs.Job) (int, jobs.Result, error) {
		if made.add(all) == 1 {
			return len(all), jobs.Result{}, errors.New("not yet")
		}
		return len(all), jobs.Result{}, nil
	}))
	elsewhere := b.add(t, func(j *queue.NewJob) { j.Delay, j.Gathers = time.Hour, true })
	later := b.add(t, func(j *queue.NewJob) { j.EndpointID, j.Delay = lane, time.Hour })
	var ids []uuid.UUID
	for range 5 {
		ids = append(ids, b.add(t, inLane(time.Hour), fullJitter))
	}
	ids = append(ids, b.add(t, inLane(0), fullJitter))
	for _, id := range ids {
		job := b.await(t, id, queue.Succeeded)
		require.Len(t, job.Attempts, 2)
		require.Equal(t, "not yet", job.Attempts[0].Error)
	}
	seen := made.seen()
	require.Equal(t, sorted(ids...), seen[0])
	require.Less(t, len(seen), 4, "they should come back together, but for one that a slow settle delayed")
	b.await(t, elsewhere, queue.Scheduled)
	b.await(t, later, queue.Scheduled)
}

// fullJitter would part jobs that drew their waits each for itself.
func fullJitter(j *queue.NewJob) {
	j.Retry = `{"strategy":"exponential","base":"1s","cap":"1s","jitter":"full"}`
}

func TestJobsThatHaveNoRoomInAnAttemptGoBackAndCountNone(t *testing.T) {
	t.Parallel()
	var made attempts
	b := start(t, together(4, func(_ context.Context, all []jobs.Job) (int, jobs.Result, error) {
		n := min(2, len(all))
		made.add(all[:n])
		return n, jobs.Result{}, nil
	}))
	var ids []uuid.UUID
	for range 7 {
		ids = append(ids, b.add(t, inLane(time.Hour)))
	}
	ids = append(ids, b.add(t, inLane(0)))
	done := map[uuid.UUID]int{}
	// Each attempt is led by a job that was left out before, until all are done but those
	// that wait still.
	require.Eventually(t, func() bool {
		clear(done)
		for _, together := range made.seen() {
			for _, id := range together {
				done[id]++
			}
		}
		return len(done) >= 4
	}, 15*time.Second, 10*time.Millisecond)
	for id, times := range done {
		require.Equal(t, 1, times)
		require.Equal(t, 1, b.await(t, id, queue.Succeeded).Attempts[0].Attempt)
	}
	for _, together := range made.seen() {
		require.LessOrEqual(t, len(together), 2)
	}
	require.Contains(t, done, ids[7])
}

func TestAJobCanceledInAnAttemptWithOthersEndsAlone(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan int, 10), make(chan struct{})
	b := start(t, together(10, func(ctx context.Context, all []jobs.Job) (int, jobs.Result, error) {
		began <- len(all)
		select {
		case <-goOn:
			return len(all), jobs.Result{}, nil
		case <-ctx.Done():
			return len(all), jobs.Result{}, ctx.Err()
		}
	}))
	first, second := b.add(t, inLane(time.Hour)), b.add(t, inLane(time.Hour))
	leads := b.add(t, inLane(0))
	require.Equal(t, 3, <-began)
	for _, id := range []uuid.UUID{first, leads} {
		_, err := queue.Cancel(t.Context(), b.db, id)
		require.NoError(t, err)
	}
	b.await(t, first, queue.Canceled)
	close(goOn)
	b.await(t, second, queue.Succeeded)
	b.await(t, leads, queue.Succeeded) // the attempt was made, and went well
}

func TestAPanicOfAnAttemptIsThatOfAllItsJobs(t *testing.T) {
	t.Parallel()
	b := start(t, together(10, func(context.Context, []jobs.Job) (int, jobs.Result, error) { panic("broken") }))
	waits, leads := b.add(t, inLane(time.Hour), once), b.add(t, inLane(0), once)
	require.Contains(t, b.await(t, leads, queue.Failed).Attempts[0].Error, "broken")
	require.Contains(t, b.await(t, waits, queue.Failed).Attempts[0].Error, "broke off")
}

func once(j *queue.NewJob) { j.MaxAttempts = 1 }

func TestJobsOfAnAttemptThatIsCutGoBackTogether(t *testing.T) {
	t.Parallel()
	began := make(chan int, 1)
	b := start(t, together(10, func(ctx context.Context, all []jobs.Job) (int, jobs.Result, error) {
		began <- len(all)
		<-ctx.Done()
		return len(all), jobs.Result{}, ctx.Err()
	}))
	ids := []uuid.UUID{b.add(t, inLane(time.Hour)), b.add(t, inLane(time.Hour)), b.add(t, inLane(0))}
	require.Equal(t, 3, <-began)
	b.stop()
	close(b.cut)
	<-b.done
	for _, id := range ids {
		require.Empty(t, b.await(t, id, queue.Pending).Attempts)
	}
	var made attempts
	startOn(t, b.db, together(10, func(_ context.Context, all []jobs.Job) (int, jobs.Result, error) {
		made.add(all)
		return len(all), jobs.Result{}, nil
	}))
	for _, id := range ids {
		require.Equal(t, 1, b.await(t, id, queue.Succeeded).Attempts[0].Attempt)
	}
}
