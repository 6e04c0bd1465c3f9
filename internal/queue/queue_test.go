package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

const lease = time.Minute

// newDB gives a database with today's partitions.
func newDB(t *testing.T) *pg.DB {
	t.Helper()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	return db
}

func newJob(change ...func(*queue.NewJob)) queue.NewJob {
	j := queue.NewJob{
		ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: "log", Queue: "default", Priority: queue.DefaultPriority,
		Payload: []byte(`{}`), MaxAttempts: 3, Timeout: time.Second,
	}
	for _, c := range change {
		c(&j)
	}
	return j
}

func enqueue(t *testing.T, db *pg.DB, jobs ...queue.NewJob) {
	t.Helper()
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, jobs) }))
}

func claimer(db *pg.DB) *queue.Claimer {
	return queue.NewClaimer(db, "default", uuid.Must(uuid.NewV7()), lease, 0)
}

func claim(t *testing.T, c *queue.Claimer, limit int) []queue.Claimed {
	t.Helper()
	jobs, err := c.Claim(t.Context(), limit)
	require.NoError(t, err)
	return jobs
}

func settle(t *testing.T, db *pg.DB, s ...queue.Settlement) map[queue.Held]queue.State {
	t.Helper()
	var states map[queue.Held]queue.State
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) (err error) {
		states, err = queue.Settle(t.Context(), tx, s)
		return err
	}))
	return states
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// held names a claim.
func held(c queue.Claimed) queue.Held { return queue.Held{JobID: c.ID, Lease: c.Lease} }

// end settles a claim with a state.
func end(t *testing.T, db *pg.DB, c queue.Claimed, state queue.State) map[queue.Held]queue.State {
	t.Helper()
	return settle(t, db, queue.Settlement{
		JobID: c.ID, Lease: c.Lease, Tenant: c.Tenant, OrderingKey: c.OrderingKey, Skips: c.Skips, State: state, Outcome: string(state),
	})
}

func count(t *testing.T, db *pg.DB, from string) int {
	t.Helper()
	var n int
	require.NoError(t, db.GetContext(t.Context(), &n, `SELECT count(*) FROM signalstack.`+from))
	return n
}

func TestClaimTakesTheMostUrgentFirst(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	low := newJob(func(j *queue.NewJob) { j.Priority = 4 })
	old := newJob(func(j *queue.NewJob) { j.RunAt = time.Now().Add(-time.Hour) })
	high := newJob(func(j *queue.NewJob) { j.Priority = 1 })
	future := newJob(func(j *queue.NewJob) { j.Priority, j.Delay = 1, time.Hour })
	other := newJob(func(j *queue.NewJob) { j.Queue, j.Priority = "email", 1 })
	enqueue(t, db, low, old, high, future, other)

	c := claimer(db)
	first := claim(t, c, 1)
	require.Len(t, first, 1)
	require.Equal(t, high.ID, first[0].ID, "priority comes before age")
	require.Equal(t, old.ID, claim(t, c, 1)[0].ID)
	require.Equal(t, low.ID, claim(t, c, 10)[0].ID)
	require.Empty(t, claim(t, c, 10), "neither the future nor another queue")
}

func TestClaimCarriesTheJobAndItsEvent(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	event := uuid.Must(uuid.NewV7())
	data := `{"n":9007199254740993,"z":"\u0000"}`
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at, data)
		VALUES ($1, 'acme', 'push', 'github', 's', '', now(), now(), $2)`, event, []byte(data))
	require.NoError(t, err)
	job := newJob(func(j *queue.NewJob) {
		j.Tenant, j.Payload, j.EventID, j.EventType = "acme", nil, uuid.NullUUID{UUID: event, Valid: true}, "push"
		j.Retry, j.Timeout = `{"strategy":"ladder"}`, 1500*time.Millisecond
	})
	enqueue(t, db, job)
	got := claim(t, claimer(db), 1)[0]
	require.Equal(t, job.ID, got.ID)
	require.Equal(t, "acme", got.Tenant)
	require.Nil(t, got.Payload)
	require.Equal(t, data, string(got.EventData))
	require.Equal(t, "github", *got.EventSource)
	require.Equal(t, int64(1500), got.TimeoutMS)
	require.Equal(t, 1, got.Attempt)
	require.Equal(t, int64(1), got.Lease)
}

func TestSettleEndsRetriesAndReleases(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob(), newJob(), newJob())
	c := claimer(db)
	jobs := claim(t, c, 3)
	require.Len(t, jobs, 3)
	accepted := settle(t, db,
		queue.Settlement{JobID: jobs[0].ID, Lease: 1, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded},
		queue.Settlement{JobID: jobs[1].ID, Lease: 1, State: queue.Retrying, Outcome: queue.OutcomeError, Error: "no", Delay: time.Hour},
		queue.Settlement{JobID: jobs[2].ID, Lease: 1, State: queue.Released})
	require.Len(t, accepted, 3)
	require.Equal(t, 0, count(t, db, "running"))
	require.Equal(t, 1, count(t, db, "attempts WHERE state = 'succeeded'"))
	require.Equal(t, 1, count(t, db, "attempts WHERE state = 'retrying' AND error = 'no'"))
	require.Equal(t, 2, count(t, db, "attempts"), "a release leaves no attempt")
	require.Equal(t, 1, count(t, db, "scheduled WHERE attempt = 1 AND run_at > now() + interval '59 minutes'"))

	again := claim(t, c, 3)
	require.Len(t, again, 1, "the released job is due at once")
	require.Equal(t, jobs[2].ID, again[0].ID)
	require.Equal(t, 1, again[0].Attempt, "a release burns no attempt")
	require.Equal(t, int64(2), again[0].Lease, "the lease goes on growing")
}

func TestStaleLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob())
	c := claimer(db)
	first := claim(t, c, 1)[0]
	settle(t, db, queue.Settlement{JobID: first.ID, Lease: first.Lease, State: queue.Released})
	second := claim(t, claimer(db), 1)[0]

	require.Empty(t, settle(t, db, queue.Settlement{JobID: first.ID, Lease: first.Lease, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded}))
	kept, err := queue.Extend(t.Context(), db, []queue.Held{{JobID: first.ID, Lease: first.Lease}}, lease)
	require.NoError(t, err)
	require.Empty(t, kept)
	require.Equal(t, 1, count(t, db, "running"), "the second claim stands")
	require.Equal(t, 0, count(t, db, "attempts"))

	kept, err = queue.Extend(t.Context(), db, []queue.Held{{JobID: second.ID, Lease: second.Lease}}, 2*lease)
	require.NoError(t, err)
	require.True(t, kept[queue.Held{JobID: second.ID, Lease: second.Lease}])
	require.Equal(t, 1, count(t, db, "running WHERE lease_until > now() + interval '119 seconds'"))
}

func TestEveryJobIsClaimedOnce(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const jobs, workers = 2000, 8
	batch := make([]queue.NewJob, jobs)
	for i := range batch {
		batch[i] = newJob(func(j *queue.NewJob) { j.Priority = 1 + i%4 })
	}
	enqueue(t, db, batch...)
	var mu sync.Mutex
	seen := map[uuid.UUID]int{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			c := queue.NewClaimer(db, "default", uuid.Must(uuid.NewV7()), lease, time.Hour)
			for {
				got, err := c.Claim(context.Background(), 37)
				if err != nil || len(got) == 0 {
					return
				}
				mu.Lock()
				for _, j := range got {
					seen[j.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, jobs)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	require.Equal(t, jobs, count(t, db, "running"))
	require.Equal(t, 0, count(t, db, "ready"))
}

func TestClaimStartsAtItsPositionAndRewinds(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	c := queue.NewClaimer(db, "default", uuid.Must(uuid.NewV7()), lease, time.Hour)
	enqueue(t, db, newJob())
	require.Len(t, claim(t, c, 10), 1) // the full pass

	// What a transaction that began long before its commit leaves behind.
	late := newJob()
	enqueue(t, db, late)
	began := time.Now().Add(-time.Minute)
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.ready SET ready_at = $1`, began)
	require.NoError(t, err)
	require.Empty(t, claim(t, c, 10), "before the position")
	c.Hear(queue.Notice{Kind: queue.NoticeReady, Queue: "default", Lanes: []string{"default"}, At: began})
	got := claim(t, c, 10)
	require.Len(t, got, 1)
	require.Equal(t, late.ID, got[0].ID)
}

func TestFullPassFindsWhatThePositionHides(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	c := claimer(db) // every claim is a full pass
	enqueue(t, db, newJob())
	require.Len(t, claim(t, c, 10), 1)
	enqueue(t, db, newJob())
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.ready SET ready_at = now() - interval '1 minute'`)
	require.NoError(t, err)
	require.Len(t, claim(t, c, 10), 1)
}

func TestReleaseOrphansSparesTheKnown(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob(), newJob(), newJob())
	c := claimer(db)
	mine := claim(t, c, 2)
	theirs := claim(t, claimer(db), 1)
	require.Len(t, theirs, 1)
	n, err := queue.ReleaseOrphans(t.Context(), db, c.Worker, []queue.Held{held(mine[0])})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, count(t, db, "ready WHERE attempt = 0 AND lease = 1"))
	require.Equal(t, 2, count(t, db, "running"))
}

func TestReaperRescuesOnlyWhatRanOut(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	last := newJob(func(j *queue.NewJob) { j.MaxAttempts = 1 })
	lost := newJob()
	enqueue(t, db, lost, last, newJob())
	require.Len(t, claim(t, claimer(db), 3), 3)
	expire := map[uuid.UUID]bool{lost.ID: true, last.ID: true}
	for id := range expire {
		_, err := db.ExecContext(t.Context(), `UPDATE signalstack.running SET lease_until = now() - interval '1 second' WHERE job_id = $1`, id)
		require.NoError(t, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reaper := &queue.Reaper{DB: db, Log: discard(), Interval: 20 * time.Millisecond, Lease: 100 * time.Millisecond}
	done := make(chan error, 1)
	go func() { done <- reaper.Run(ctx) }()
	require.Eventually(t, func() bool { return count(t, db, "running") <= 3-len(expire) }, 10*time.Second, 20*time.Millisecond)
	stop()
	require.NoError(t, <-done)

	require.Equal(t, 1, count(t, db, "running"), "the live lease is left alone")
	require.Equal(t, 1, count(t, db, fmt.Sprintf("attempts WHERE job_id = '%s' AND state = 'failed' AND outcome = 'crashed'", last.ID)),
		"a crash counts as an attempt")
	require.Equal(t, 1, count(t, db, "attempts WHERE state = 'retrying' AND outcome = 'crashed'"))
	require.Equal(t, 1, count(t, db, "ready WHERE attempt = 1 AND lease = 1"))
}

// A lease that will run out before the next pass brings that pass forward.
func TestTheReaperComesWhenALeaseRunsOut(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const short = 1500 * time.Millisecond
	// Of so short a lease beside the interval it waits for no calm, and two seconds'
	// stall are none.
	reaper := &queue.Reaper{DB: db, Log: discard(), Interval: time.Minute, Lease: 12 * time.Second}
	require.Equal(t, time.Minute, reaper.Pass(t.Context()), "nothing runs")
	enqueue(t, db, newJob())
	require.Len(t, claim(t, queue.NewClaimer(db, "default", uuid.Must(uuid.NewV7()), short, 0), 1), 1)
	wait := reaper.Pass(t.Context())
	require.Positive(t, wait)
	require.LessOrEqual(t, wait, short)
	<-time.After(wait)
	require.Equal(t, time.Minute, reaper.Pass(t.Context()))
	require.Equal(t, 1, count(t, db, "attempts WHERE outcome = 'crashed'"))
}

func TestReaperWaitsForAWholeLeaseAfterItsStart(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob())
	claim(t, claimer(db), 1)
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.running SET lease_until = now() - interval '1 second'`)
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	reaper := &queue.Reaper{DB: db, Log: discard(), Interval: 10 * time.Millisecond, Lease: time.Minute}
	require.NoError(t, reaper.Run(ctx))
	require.Equal(t, 1, count(t, db, "running"))
}

func TestEnqueueNotifiesAfterCommit(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	heard := make(chan string, 10)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = pg.Listen(ctx, db, queue.Channel, func(p string) { heard <- p }) }()
	require.Empty(t, <-heard, "a new connection says that something may have been missed")
	enqueue(t, db, newJob(func(j *queue.NewJob) { j.Delay = time.Hour }))
	enqueue(t, db, newJob(), newJob(), newJob(func(j *queue.NewJob) { j.Queue = "email" }))
	got := map[string]queue.Notice{}
	for range 2 { // one for each queue, none for the future
		n := queue.ParseNotice(<-heard)
		require.Equal(t, queue.NoticeReady, n.Kind)
		require.WithinDuration(t, time.Now(), n.At, time.Minute)
		got[n.Queue] = n
	}
	require.Equal(t, []string{"default"}, got["default"].Lanes)
	require.Equal(t, []string{"default"}, got["email"].Lanes)
}

func TestPartitionsAreMadeOnDemandAndByManyAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	err := pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, []queue.NewJob{newJob()}) })
	require.True(t, pg.IsNoPartition(err), "%v", err)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			errs[i] = queue.EnsurePartitions(context.Background(), db, time.Now(), time.Now().AddDate(0, 0, 1))
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	enqueue(t, db, newJob())
	require.Equal(t, 1, count(t, db, "jobs"))
}

func TestIDTimeIsTheTimeOfAUUIDv7(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_790_000_000_123)
	require.Equal(t, at, queue.IDTime(queue.FirstID(at)))
	require.WithinDuration(t, time.Now(), queue.IDTime(uuid.Must(uuid.NewV7())), time.Second)
}
