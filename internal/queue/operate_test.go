package queue_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/queue"
)

func TestWaitingJobIsCanceledAtOnce(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	jobs := map[string]queue.NewJob{
		"ready": newJob(), "scheduled": newJob(func(j *queue.NewJob) { j.Delay = time.Hour }),
	}
	head, blocked, tail := newJob(keyed("k")), newJob(keyed("k")), newJob(keyed("k"))
	enqueue(t, db, jobs["ready"], jobs["scheduled"], head, blocked, tail)
	for name, j := range jobs {
		state, err := queue.Cancel(t.Context(), db, j.ID)
		require.NoError(t, err, name)
		require.Equal(t, queue.Canceled, state)
		_, err = queue.Cancel(t.Context(), db, j.ID)
		require.Equal(t, fault.Conflict, fault.As(err).Kind, "it has ended")
	}
	_, err := queue.Cancel(t.Context(), db, blocked.ID)
	require.NoError(t, err)
	_, err = queue.Cancel(t.Context(), db, head.ID)
	require.NoError(t, err)
	got := claim(t, claimer(db), 10)
	require.Len(t, got, 1, "the next of the key comes")
	require.Equal(t, tail.ID, got[0].ID)
	require.Equal(t, 4, count(t, db, "attempts WHERE state = 'canceled' AND worker IS NULL"))
	_, err = queue.Cancel(t.Context(), db, uuid.New())
	require.Equal(t, fault.NotFound, fault.As(err).Kind)
}

func TestRunningJobThatIsToBeCanceledDoesNotGoOn(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob(), newJob(), newJob())
	got := claim(t, claimer(db), 3)
	var ids []uuid.UUID
	for _, j := range got {
		state, err := queue.Cancel(t.Context(), db, j.ID)
		require.NoError(t, err)
		require.Equal(t, queue.Running, state, "its worker is asked")
		ids = append(ids, j.ID)
	}
	wanted, err := queue.Wanted(t.Context(), db, append(ids, uuid.New()))
	require.NoError(t, err)
	require.ElementsMatch(t, ids, wanted)
	require.Equal(t, queue.Canceled, end(t, db, got[0], queue.Retrying)[held(got[0])])
	require.Equal(t, queue.Canceled, end(t, db, got[1], queue.Released)[held(got[1])])
	require.Equal(t, queue.Succeeded, end(t, db, got[2], queue.Succeeded)[held(got[2])], "it was done before it heard")
	require.Equal(t, 0, count(t, db, "cancels"))
	require.Equal(t, 0, count(t, db, "ready")+count(t, db, "scheduled"))
}

func TestEndedJobIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	plain, ordered := newJob(func(j *queue.NewJob) { j.MaxAttempts = 1 }), newJob(keyed("k"))
	enqueue(t, db, plain, ordered)
	c := claimer(db)
	require.Equal(t, fault.Conflict, fault.As(queue.Retry(t.Context(), db, plain.ID)).Kind, "it has not ended")
	for _, j := range claim(t, c, 2) {
		require.Equal(t, fault.Conflict, fault.As(queue.Retry(t.Context(), db, j.ID)).Kind)
		end(t, db, j, queue.Failed)
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = queue.Retry(context.Background(), db, []uuid.UUID{plain.ID, ordered.ID}[i%2]) })
	}
	wg.Wait()
	conflicts := 0
	for _, err := range errs {
		if err != nil {
			require.Equal(t, fault.Conflict, fault.As(err).Kind, "%v", err)
			conflicts++
		}
	}
	require.Equal(t, 2, conflicts, "each once")
	again := claim(t, c, 10)
	require.Len(t, again, 2)
	for _, j := range again {
		require.Equal(t, 1, j.Attempt, "all attempts are before it")
		require.Equal(t, int64(2), j.Lease, "and no old one can write")
	}
}

func TestWaitingJobCanBeChanged(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	first, second := newJob(), newJob()
	enqueue(t, db, first, second)
	c := claimer(db)
	require.NoError(t, queue.Change{Priority: number(1)}.Apply(t.Context(), db, second.ID))
	later := time.Now().Add(time.Hour)
	require.NoError(t, queue.Change{RunAt: &later}.Apply(t.Context(), db, first.ID))
	got := claim(t, c, 10)
	require.Len(t, got, 1)
	require.Equal(t, second.ID, got[0].ID)
	require.Equal(t, 1, got[0].Priority)
	now := time.Now().Add(-time.Second)
	require.NoError(t, queue.Change{RunAt: &now}.Apply(t.Context(), db, first.ID))
	require.Len(t, claim(t, c, 10), 1)
	require.Equal(t, "job_running", fault.As(queue.Change{Priority: number(1)}.Apply(t.Context(), db, second.ID)).Code)
	end(t, db, got[0], queue.Succeeded)
	require.Equal(t, "job_ended", fault.As(queue.Change{Priority: number(1)}.Apply(t.Context(), db, second.ID)).Code)
}
