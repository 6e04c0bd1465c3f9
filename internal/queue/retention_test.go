package queue_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

const aDay = 24 * time.Hour

// past is a day that is over, with ids of its own.
type past struct {
	db  *pg.DB
	day time.Time
	ids uint32
}

// newPast makes the partitions of the day that many days ago.
func newPast(t *testing.T, db *pg.DB, daysAgo int) *past {
	t.Helper()
	day := time.Now().UTC().Truncate(aDay).AddDate(0, 0, -daysAgo)
	require.NoError(t, queue.EnsurePartitions(t.Context(), db, day))
	return &past{db: db, day: day}
}

func (p *past) id() uuid.UUID {
	p.ids++
	id := queue.FirstID(p.day.Add(time.Hour))
	id[6], id[8] = 0x70, 0x80
	binary.BigEndian.PutUint32(id[12:], p.ids)
	return id
}

func (p *past) name(table string) string { return table + "_" + p.day.Format("20060102") }

// event adds an event of that day.
func (p *past) event(t *testing.T) uuid.UUID {
	t.Helper()
	id := p.id()
	_, err := p.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at, data)
		VALUES ($1, 'default', 'push', '', '', '', $2, $2, 'x')`, id, p.day)
	require.NoError(t, err)
	return id
}

// jobs adds jobs of that day.
func (p *past) jobs(t *testing.T, n int, change ...func(*queue.NewJob)) []uuid.UUID {
	t.Helper()
	ids := make([]uuid.UUID, n)
	batch := make([]queue.NewJob, n)
	for i := range batch {
		batch[i] = newJob(append(change, func(j *queue.NewJob) { j.ID = p.id() })...)
		ids[i] = batch[i].ID
	}
	enqueue(t, p.db, batch...)
	return ids
}

// ended has jobs end on that day after two attempts.
func (p *past) ended(t *testing.T, state queue.State, ids ...uuid.UUID) []uuid.UUID {
	t.Helper()
	p.attempt(t, queue.Retrying, 1, ids...)
	p.attempt(t, state, 2, ids...)
	for _, table := range []string{"ready", "ordered"} {
		_, err := p.db.ExecContext(t.Context(), `DELETE FROM signalstack.`+table+` WHERE job_id = ANY ($1::uuid[])`, texts(ids))
		require.NoError(t, err)
	}
	return ids
}

func (p *past) attempt(t *testing.T, state queue.State, lease int, ids ...uuid.UUID) {
	t.Helper()
	_, err := p.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
		SELECT id, $2::bigint, $2::bigint, $3::text, $3::text, '', NULL, $4, $4, 0 FROM unnest($1::uuid[]) AS g (id)`, texts(ids), lease, string(state), p.day.Add(2*time.Hour))
	require.NoError(t, err)
}

func texts(ids []uuid.UUID) pq.StringArray {
	a := make(pq.StringArray, len(ids))
	for i, id := range ids {
		a[i] = id.String()
	}
	return a
}

func forEvent(id uuid.UUID) func(*queue.NewJob) {
	return func(j *queue.NewJob) { j.EventID = uuid.NullUUID{UUID: id, Valid: true} }
}

func retention(db *pg.DB) *queue.Retention {
	return &queue.Retention{
		DB: db, Log: discard(), Keep: queue.Periods{Succeeded: 7 * aDay, Failed: 30 * aDay}, Events: 30 * aDay,
	}
}

// kept gives the ids in a table, in their order.
func kept(t *testing.T, db *pg.DB, query string) []uuid.UUID {
	t.Helper()
	ids := []uuid.UUID{}
	require.NoError(t, db.SelectContext(t.Context(), &ids, query))
	return ids
}

func keptJobs(t *testing.T, db *pg.DB) []uuid.UUID {
	t.Helper()
	return kept(t, db, `SELECT id FROM signalstack.jobs ORDER BY id`)
}

// relations counts the tables of a day, with whatever was made beside them.
func (p *past) relations(t *testing.T) int {
	t.Helper()
	var n int
	require.NoError(t, p.db.GetContext(t.Context(), &n, `
		SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'signalstack'::regnamespace AND relname LIKE '%' || $1 || '%'`,
		p.day.Format("20060102")))
	return n
}

func size(t *testing.T, db *pg.DB) int {
	t.Helper()
	var n int
	require.NoError(t, db.GetContext(t.Context(), &n, `
		SELECT sum(pg_total_relation_size(relid)) FROM (VALUES ('signalstack.events'), ('signalstack.jobs'), ('signalstack.attempts')) AS t (name),
		LATERAL pg_partition_tree(t.name::regclass)`))
	return n
}

func TestDayOfWhichNothingIsKeptGoes(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	old, young := newPast(t, db, 40), newPast(t, db, 6)
	old.ended(t, queue.Succeeded, old.jobs(t, 3000, forEvent(old.event(t)))...)
	old.ended(t, queue.Failed, old.jobs(t, 10)...)
	old.event(t)
	stays := young.ended(t, queue.Succeeded, young.jobs(t, 3, forEvent(young.event(t)))...)
	_, err := db.ExecContext(t.Context(), `INSERT INTO signalstack.unique_jobs SELECT 'default', id::text, id FROM signalstack.jobs`)
	require.NoError(t, err)
	before := size(t, db)

	require.NoError(t, retention(db).Pass(t.Context()))
	require.Equal(t, stays, keptJobs(t, db))
	require.Equal(t, 6, count(t, db, "attempts"))
	require.Equal(t, 1, count(t, db, "events"))
	require.Equal(t, 3, count(t, db, "unique_jobs"))
	require.Equal(t, 0, old.relations(t))
	require.Equal(t, 3, young.relations(t))
	require.Less(t, size(t, db), before/2)
}

func TestWhatIsKeptOfADayIsWhole(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 20)
	event := p.event(t)
	failed := p.ended(t, queue.Failed, p.jobs(t, 1, forEvent(event))...)
	p.ended(t, queue.Succeeded, p.jobs(t, 2000, forEvent(p.event(t)))...)
	canceled := p.ended(t, queue.Canceled, p.jobs(t, 1)...)
	live := p.jobs(t, 1)
	p.attempt(t, queue.Retrying, 1, live...)
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.ready SET attempt = 1, lease = 1`)
	require.NoError(t, err)
	blocked := p.jobs(t, 1, func(j *queue.NewJob) { j.OrderingKey, j.RunAt = "k", time.Now().Add(time.Hour) })
	recent := p.jobs(t, 1)
	p.ended(t, queue.Failed, recent...)
	_, err = db.ExecContext(t.Context(), `UPDATE signalstack.attempts SET state = 'succeeded', finished_at = now() WHERE job_id = $1 AND lease = 2`, recent[0])
	require.NoError(t, err)
	before := size(t, db)

	r := retention(db)
	r.Events = aDay
	require.NoError(t, r.Pass(t.Context()))
	want := []uuid.UUID{failed[0], canceled[0], live[0], blocked[0], recent[0]}
	require.Equal(t, want, keptJobs(t, db))
	require.Equal(t, []uuid.UUID{event}, kept(t, db, `SELECT id FROM signalstack.events`))
	require.Equal(t, []uuid.UUID{failed[0], failed[0], canceled[0], canceled[0], live[0], recent[0], recent[0]},
		kept(t, db, `SELECT job_id FROM signalstack.attempts ORDER BY job_id`))
	require.Equal(t, 3, p.relations(t), "nothing is left beside the partitions")
	require.Less(t, size(t, db), before/2)

	// The new partitions are like the others.
	got := claim(t, claimer(db), 10)
	require.Len(t, got, 1)
	require.Equal(t, live[0], got[0].ID)
	require.Equal(t, 2, got[0].Attempt)
	require.Len(t, end(t, db, got[0], queue.Succeeded), 1)
	require.NoError(t, queue.Retry(t.Context(), db, failed[0]))
	require.Equal(t, 1, count(t, db, fmt.Sprintf("ready WHERE lease = 2 AND job_id = '%s'", failed[0])))
	indexes := `SELECT count(*) FROM pg_indexes WHERE schemaname = 'signalstack' AND tablename = $1`
	var ours, theirs int
	require.NoError(t, db.GetContext(t.Context(), &ours, indexes, p.name("jobs")))
	require.NoError(t, db.GetContext(t.Context(), &theirs, indexes, "jobs_"+time.Now().UTC().Format("20060102")))
	require.Equal(t, theirs, ours)
}

func TestQueueHasItsOwnPeriods(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 3)
	in := func(name string) func(*queue.NewJob) { return func(j *queue.NewJob) { j.Queue = name } }
	p.ended(t, queue.Succeeded, p.jobs(t, 5, in("bulk"))...)
	p.ended(t, queue.Failed, p.jobs(t, 5, in("bulk"))...)
	stays := p.ended(t, queue.Succeeded, p.jobs(t, 2)...)
	audit := newPast(t, db, 400)
	forever := audit.ended(t, queue.Succeeded, audit.jobs(t, 2, in("audit"))...)
	audit.ended(t, queue.Failed, audit.jobs(t, 3, in("audit"))...)

	r := retention(db)
	r.Queues = map[string]queue.Periods{"bulk": {Succeeded: aDay, Failed: 2 * aDay}, "audit": {Failed: aDay}}
	require.NoError(t, r.Pass(t.Context()))
	require.Equal(t, append(forever, stays...), keptJobs(t, db))
}

func TestZeroKeepsForEver(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 4000)
	p.ended(t, queue.Succeeded, p.jobs(t, 2, forEvent(p.event(t)))...)
	require.NoError(t, (&queue.Retention{DB: db, Log: discard()}).Pass(t.Context()))
	require.Equal(t, 2, count(t, db, "jobs"))
	require.Equal(t, 1, count(t, db, "events"))
	require.Equal(t, 3, p.relations(t))
}

func TestDayOfWhichMuchIsKeptIsNotCopied(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 10)
	p.ended(t, queue.Succeeded, p.jobs(t, 4)...)
	p.ended(t, queue.Failed, p.jobs(t, 6)...)
	place := func() (node int) {
		require.NoError(t, db.GetContext(t.Context(), &node, `SELECT relfilenode FROM pg_class WHERE oid = ('signalstack.' || $1)::regclass`, p.name("jobs")))
		return node
	}
	before := place()
	require.NoError(t, retention(db).Pass(t.Context()))
	require.Equal(t, before, place())
	require.Equal(t, 10, count(t, db, "jobs"))
}

// A day whose jobs all live has no attempts, but there will be some.
func TestAttemptsOfLivingJobsHaveAPlace(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 60)
	p.jobs(t, 1)
	require.NoError(t, retention(db).Pass(t.Context()))
	require.Len(t, end(t, db, claim(t, claimer(db), 1)[0], queue.Succeeded), 1)
	require.Equal(t, 1, count(t, db, "attempts"))
}

// begun waits until some backend of the database runs a statement like this.
func begun(t *testing.T, db *pg.DB, statement string) (pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := db.GetContext(t.Context(), &pid, `
			SELECT pid FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock' AND query LIKE $1`, "%"+statement+"%")
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)
	return pid
}

// holdJobs keeps everybody from locking the table of jobs until it is called.
func holdJobs(t *testing.T, db *pg.DB) (release func()) {
	t.Helper()
	tx, err := db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE ONLY signalstack.jobs IN ACCESS SHARE MODE`)
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback()) }
}

func TestKillInTheMiddleLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 20)
	p.ended(t, queue.Succeeded, p.jobs(t, 50)...)
	stays := p.ended(t, queue.Failed, p.jobs(t, 2)...)
	release := holdJobs(t, db)
	failed := make(chan error, 1)
	go func() { failed <- retention(db).Pass(context.Background()) }()
	pid := begun(t, db, "LOCK TABLE ONLY signalstack.jobs")
	_, err := db.ExecContext(t.Context(), `SELECT pg_terminate_backend($1)`, pid)
	require.NoError(t, err)
	require.Error(t, <-failed)
	release()
	require.Equal(t, 52, count(t, db, "jobs"))
	require.Equal(t, 104, count(t, db, "attempts"))
	require.Equal(t, 5, p.relations(t), "the partitions, and notes of late jobs and attempts")

	require.NoError(t, retention(db).Pass(t.Context()))
	require.Equal(t, stays, keptJobs(t, db))
	require.Equal(t, 4, count(t, db, "attempts"))
	require.Equal(t, 3, p.relations(t))
}

func TestWhatComesDuringTheCopyIsKept(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 20)
	again := p.ended(t, queue.Succeeded, p.jobs(t, 50)...)
	stays := p.ended(t, queue.Failed, p.jobs(t, 1)...)
	release := holdJobs(t, db)
	done := make(chan error, 1)
	go func() { done <- retention(db).Pass(context.Background()) }()
	begun(t, db, "LOCK TABLE ONLY signalstack.jobs")
	require.NoError(t, queue.Retry(t.Context(), db, again[0]))
	require.NoError(t, queue.Retry(t.Context(), db, again[1]))
	for _, c := range claim(t, claimer(db), 1) {
		require.Len(t, end(t, db, c, queue.Succeeded), 1)
	}
	skewed := p.jobs(t, 1)
	release()
	require.NoError(t, <-done)
	require.Equal(t, append(again[:2:2], stays[0], skewed[0]), keptJobs(t, db))
	require.Equal(t, 2+3+2, count(t, db, "attempts"))
	for _, c := range claim(t, claimer(db), 10) {
		require.Len(t, end(t, db, c, queue.Succeeded), 1)
	}
	require.Equal(t, 2+3+3+1, count(t, db, "attempts"))
}

func TestDayThatIsNeededAgainStays(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 40)
	again := p.ended(t, queue.Succeeded, p.jobs(t, 20)...)[:1]
	release := holdJobs(t, db)
	done := make(chan error, 1)
	go func() { done <- retention(db).Pass(context.Background()) }()
	begun(t, db, "LOCK TABLE ONLY signalstack.jobs")
	require.NoError(t, queue.Retry(t.Context(), db, again[0]))
	release()
	require.NoError(t, <-done)
	require.Equal(t, 20, count(t, db, "jobs"))

	require.NoError(t, retention(db).Pass(t.Context()))
	require.Equal(t, again, keptJobs(t, db))
	require.Len(t, end(t, db, claim(t, claimer(db), 1)[0], queue.Succeeded), 1)
	require.Equal(t, 3, count(t, db, "attempts"))
}

func TestTableThatIsHeldIsLeftForLater(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 40)
	p.ended(t, queue.Succeeded, p.jobs(t, 20)...)
	release := holdJobs(t, db)
	done := make(chan error, 1)
	go func() { done <- retention(db).Pass(context.Background()) }()
	var wait longest
	for waiting := true; waiting; {
		select {
		case err := <-done:
			require.NoError(t, err)
			waiting = false
		case <-time.After(5 * time.Millisecond):
			wait.time(func() { require.Equal(t, 20, count(t, db, "jobs")) })
		}
	}
	require.Less(t, wait.d, time.Second)
	release()
	require.NoError(t, retention(db).Pass(t.Context()))
	require.Equal(t, 0, p.relations(t))
}

func TestTwoRetentionsDoNoHarm(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	var stays []uuid.UUID
	for ago := 45; ago > 30; ago -= 5 {
		p := newPast(t, db, ago)
		p.ended(t, queue.Succeeded, p.jobs(t, 100, forEvent(p.event(t)))...)
		stays = append(stays, p.jobs(t, 2)...)
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = retention(db).Pass(context.Background()) })
	}
	wg.Wait()
	require.Equal(t, make([]error, len(errs)), errs)
	require.NoError(t, retention(db).Pass(t.Context()))
	require.Equal(t, stays, keptJobs(t, db))
	require.Equal(t, 0, count(t, db, "attempts"))
	require.Equal(t, 0, count(t, db, "events"))
}

// longest keeps the longest time of its calls.
type longest struct {
	mu sync.Mutex
	d  time.Duration
}

func (l *longest) time(f func()) {
	began := time.Now()
	f()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.d = max(l.d, time.Since(began))
}

func TestNobodyWaitsForRetention(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	p := newPast(t, db, 20)
	for range 4 {
		p.ended(t, queue.Succeeded, p.jobs(t, 5000, forEvent(p.event(t)))...)
	}
	live := p.jobs(t, 1, func(j *queue.NewJob) { j.MaxAttempts = 1 << 20 })
	// Somebody looks at the jobs for long, so that the lock must be asked for again.
	release := holdJobs(t, db)
	ctx, stop := context.WithCancel(t.Context())
	var wait longest
	var wg sync.WaitGroup
	var attempts, missing int
	var failed error
	wg.Go(func() { // a worker
		for ctx.Err() == nil && failed == nil {
			wait.time(func() { failed = tryAgain(db) })
			attempts++
		}
	})
	wg.Go(func() { // a reader
		for ctx.Err() == nil {
			var n int
			wait.time(func() {
				_ = db.GetContext(context.Background(), &n, `SELECT count(*) FROM signalstack.jobs WHERE id = $1`, live[0])
			})
			missing += 1 - n
		}
	})
	done := make(chan error, 1)
	go func() { done <- retention(db).Pass(context.Background()) }()
	begun(t, db, "LOCK TABLE ONLY signalstack.jobs")
	release()
	require.NoError(t, <-done)
	stop()
	wg.Wait()
	require.NoError(t, failed)
	require.Positive(t, attempts)
	require.Zero(t, missing, "the job was always there")
	require.Less(t, wait.d, time.Second)
	require.Equal(t, live, keptJobs(t, db))
	require.Equal(t, attempts, count(t, db, "attempts"))
}

// tryAgain has the only job make an attempt that fails.
func tryAgain(db *pg.DB) error {
	ctx := context.Background()
	got, err := claimer(db).Claim(ctx, 1)
	if err != nil || len(got) != 1 {
		return fmt.Errorf("%d jobs claimed: %w", len(got), err)
	}
	c := got[0]
	_, err = queue.Settle(ctx, db, []queue.Settlement{{JobID: c.ID, Lease: c.Lease, State: queue.Retrying, Outcome: queue.OutcomeError}})
	return err
}
