package jobs_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// diary notes the jobs that run.
type diary struct {
	mu  sync.Mutex
	ran []uuid.UUID
}

func (d *diary) run(_ context.Context, j jobs.Job) (jobs.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ran = append(d.ran, j.ID)
	return jobs.Result{}, nil
}

func (d *diary) read() []uuid.UUID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]uuid.UUID(nil), d.ran...)
}

// oneSlot makes a worker do one job at a time.
func oneSlot(c *jobs.RunnerConfig) { c.Queues = map[string]int{"default": 1} }

// line adds jobs of one ordering key to a database.
func line(t *testing.T, b *bundle, n int) []uuid.UUID {
	t.Helper()
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = b.add(t, func(j *queue.NewJob) { j.OrderingKey = "k" })
	}
	return ids
}

// TestSlotGoesOnWithTheJobsOfAKey looks at the transactions: the end of a job is the
// beginning of the next, but for those with which the slot is let go.
func TestSlotGoesOnWithTheJobsOfAKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	ids := line(t, &bundle{db: db}, 50)
	var d diary
	b := startOn(t, db, d.run, oneSlot)
	b.await(t, ids[len(ids)-1], queue.Succeeded)
	require.Equal(t, ids, d.read())
	var went int
	require.NoError(t, db.GetContext(t.Context(), &went, `
		SELECT count(*) FROM signalstack.attempts AS a JOIN signalstack.attempts AS next ON next.started_at = a.finished_at AND next.job_id > a.job_id`))
	require.Positive(t, went)
	require.LessOrEqual(t, went, 47, "a slot is let go after 20 jobs")
}

// TestKeyKeepsNoOtherLaneFromItsTurn has a job of another lane wait behind many of one
// key.
func TestKeyKeepsNoOtherLaneFromItsTurn(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	ids := line(t, &bundle{db: db}, 30)
	other := (&bundle{db: db}).add(t, func(j *queue.NewJob) { j.Tenant = "zeta" })
	var d diary
	b := startOn(t, db, d.run, oneSlot)
	b.await(t, ids[len(ids)-1], queue.Succeeded)
	require.Contains(t, d.read()[:5], other)
}

// TestLostAnswersLeaveNoKeyStuck loses answers to commits while the jobs of a key run.
// What a claim or settle took without the worker's hearing of it comes again.
func TestLostAnswersLeaveNoKeyStuck(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	db := pgtest.Open(t, dsn)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	ids := line(t, &bundle{db: db}, 40)
	worker := newFreezer(t, dsn)
	var d diary
	b := startOn(t, pgtest.Open(t, worker.dsn), func(ctx context.Context, j jobs.Job) (jobs.Result, error) {
		if len(d.read())%4 == 3 {
			worker.losses.Store(2)
		}
		return d.run(ctx, j)
	}, func(c *jobs.RunnerConfig) { c.Lease = time.Hour }) // nobody else frees them
	observer := &bundle{db: db, runner: b.runner}
	for i, id := range ids {
		job := observer.await(t, id, queue.Succeeded)
		require.Len(t, job.Attempts, 1, strconv.Itoa(i))
	}
	require.Equal(t, ids, d.read(), "each once, in their order")
}

// TestSlotsGoOnPastJobsThatSkip has every third job of a key fail once: it is tried again
// beside the others, which come in their order, and each attempt is made once.
func TestSlotsGoOnPastJobsThatSkip(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	ids := make([]uuid.UUID, 90)
	at := map[uuid.UUID]int{}
	for i := range ids {
		ids[i] = (&bundle{db: db}).add(t, func(j *queue.NewJob) {
			j.OrderingKey, j.Skips, j.Retry = "k", true, `{"strategy":"ladder","ladder":["1ms"]}`
		})
		at[ids[i]] = i
	}
	var d diary
	b := startOn(t, db, func(ctx context.Context, j jobs.Job) (jobs.Result, error) {
		if _, err := d.run(ctx, j); err != nil {
			return jobs.Result{}, err
		}
		if at[j.ID]%3 == 0 && j.Attempt == 1 {
			return jobs.Result{}, errors.New("not yet")
		}
		return jobs.Result{}, nil
	})
	for i, id := range ids {
		job := b.await(t, id, queue.Succeeded)
		require.Len(t, job.Attempts, map[bool]int{true: 2, false: 1}[i%3 == 0], strconv.Itoa(i))
	}
	var firsts []uuid.UUID
	ran := map[uuid.UUID]int{}
	for _, id := range d.read() {
		if ran[id]++; ran[id] == 1 {
			firsts = append(firsts, id)
		}
	}
	require.Equal(t, ids, firsts, "first attempts are in order")
	require.Len(t, d.read(), 120, "each attempt once")
	require.Zero(t, rowsIn(t, db, "ordering_keys"))
}
