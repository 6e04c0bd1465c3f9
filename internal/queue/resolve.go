package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/pg"
)

// Resolver lets jobs run that waited for others, or cancels them when one of those has
// not ended well. Every worker has one, and one of them works at a time, so that of the
// two ends that a job waits for last one is surely seen to be the last. It is told of each
// end by a row in followed, a mark.
type Resolver struct {
	DB  *pg.DB
	Log *slog.Logger

	woken chan struct{}

	since    time.Time // marks before it were seen to
	lastFull time.Time
	fullTook time.Duration
}

// NewResolver makes a resolver.
func NewResolver(db *pg.DB, log *slog.Logger) *Resolver {
	return &Resolver{DB: db, Log: log, woken: make(chan struct{}, 1)}
}

const (
	// resolveBatch bounds the marks of a transaction.
	resolveBatch = 1000
	// resolveSlack is how far before its last position a pass begins, for transactions
	// that were open then.
	resolveSlack = 2 * time.Second
	// resolvePause is the least time between two passes, so that under load they are few.
	resolvePause = 5 * time.Millisecond
	// resolveAgain is how soon it is tried again where another worker is at it.
	resolveAgain = 50 * time.Millisecond
	// resolvePoll is the longest time between two passes. Marks are told of, and the
	// promoter looks for them in passing.
	resolvePoll = time.Minute
)

// Wake makes a pass come soon.
func (r *Resolver) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// Run resolves until ctx ends.
func (r *Resolver) Run(ctx context.Context) error {
	return rounds(ctx, r.Log, "let jobs run that wait for others", r.woken, resolvePoll, func(ctx context.Context) (time.Duration, error) {
		wait, err := r.pass(ctx)
		select { // others end meanwhile
		case <-ctx.Done():
		case <-time.After(resolvePause):
		}
		return wait, err
	})
}

// errElsewhere says that another worker resolves.
var errElsewhere = errors.New("another worker is at it")

// pass sees to all marks, and gives the time until the next pass.
func (r *Resolver) pass(ctx context.Context) (time.Duration, error) {
	began, full := time.Now(), false
	if time.Since(r.lastFull) >= fullPassAfter(r.fullTook) {
		r.since, full = time.Time{}, true
	}
	for more := true; more; {
		now, marks, err := r.resolveMarked(ctx)
		if errors.Is(err, errElsewhere) {
			return resolveAgain, nil
		}
		if err != nil {
			return 0, err
		}
		if more = marks == resolveBatch; !more {
			r.since = now.Add(-resolveSlack)
		}
	}
	if full {
		r.lastFull, r.fullTook = time.Now(), time.Since(began)
	}
	return resolvePoll, nil
}

// marksSQL takes marks in the order of the index followed_at from a position. The first
// row is no mark: it gives the time.
const marksSQL = `
WITH gone AS (
    DELETE FROM signalstack.followed WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM signalstack.followed WHERE at >= $1::timestamptz ORDER BY at LIMIT $2))
    RETURNING job_id
)
SELECT '00000000-0000-0000-0000-000000000000'::uuid AS job_id, now() AS now
UNION ALL
SELECT job_id, now() FROM gone`

// resolveMarked sees to a batch of marks, and says how many there were.
func (r *Resolver) resolveMarked(ctx context.Context) (now time.Time, marks int, err error) {
	err = pg.InSteadyTx(ctx, r.DB, func(tx *sqlx.Tx) error {
		var mine bool
		if err := tx.GetContext(ctx, &mine, `SELECT pg_try_advisory_xact_lock(hashtext('signalstack flows'))`); err != nil {
			return fmt.Errorf("ask whether another worker resolves: %w", err)
		}
		if !mine {
			return errElsewhere
		}
		var rows []struct {
			JobID uuid.UUID `db:"job_id"`
			Now   time.Time
		}
		if err := tx.SelectContext(ctx, &rows, marksSQL, positionText(r.since), resolveBatch); err != nil {
			return fmt.Errorf("read what has ended: %w", err)
		}
		ids := make([]uuid.UUID, 0, len(rows))
		for _, row := range rows {
			if row.JobID != uuid.Nil {
				ids = append(ids, row.JobID)
			}
		}
		now, marks = rows[0].Now, len(ids)
		return resolve(ctx, tx, ids)
	})
	return now, marks, err
}

// touchSQL moves the rows of jobs that run. A statement that is about to end one of them
// may have begun before it could see who waits for that: it finds the row moved, and looks
// again (see settle). One that has ended it already, and not committed yet, is waited for.
const touchSQL = `UPDATE signalstack.running SET lease_until = lease_until WHERE job_id = ANY ($1::uuid[])`

// endedSQL gives those of some jobs that have ended, with how. One that neither lives nor
// has an attempt is not kept any more. Each is asked for by the primary keys.
var endedSQL = `
SELECT g.id, coalesce(a.state, '') AS state
FROM unnest($1::uuid[]) AS g (id)
LEFT JOIN LATERAL (SELECT state FROM signalstack.attempts WHERE job_id = g.id ORDER BY lease DESC LIMIT 1) AS a ON true
LEFT JOIN LATERAL (` + Living("g.id") + `) AS living ON true
WHERE living.yes IS NULL`

// ended is a job that has ended, with how; State is "" of one that is not kept any more.
type ended struct {
	ID    uuid.UUID `db:"id"`
	State State     `db:"state"`
}

// meetSQL takes what has ended as it must out of what is waited for, and gives what it met:
// the jobs that waited, and those whose wait is in vain, with what for. OFFSET 0 keeps the
// planner from making a join of the steps down the primary key.
const meetSQL = `
WITH ended AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[]) AS e (id, state)
), found AS MATERIALIZED (
    SELECT d.at, d.after_id, ended.id AS before_id, ended.state, ended.state = 'succeeded' OR b.after_any AS meets
    FROM ended
    CROSS JOIN LATERAL (SELECT ctid AS at, after_id FROM signalstack.dependencies WHERE before_id = ended.id OFFSET 0) AS d
    CROSS JOIN LATERAL (SELECT after_any FROM signalstack.blocked WHERE job_id = d.after_id LIMIT 1) AS b
), met AS (
    DELETE FROM signalstack.dependencies WHERE ctid = ANY (ARRAY(SELECT at FROM found WHERE meets))
)
SELECT DISTINCT ON (after_id) after_id AS id, before_id, state, meets FROM found ORDER BY after_id, meets`

// metJob is a job that waits for one that has ended.
type metJob struct {
	ID       uuid.UUID `db:"id"`
	BeforeID uuid.UUID `db:"before_id"`
	State    State     `db:"state"` // of that
	Meets    bool      `db:"meets"` // it has ended as it must
}

// resolve sees to those who wait for some jobs, where these have ended. The caller is
// alone in this.
func resolve(ctx context.Context, tx *sqlx.Tx, ids []uuid.UUID) error {
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	if ids = slices.Compact(ids); len(ids) == 0 {
		return nil
	}
	all := pg.IDs(ids)
	if _, err := tx.ExecContext(ctx, touchSQL, all); err != nil {
		return fmt.Errorf("move what may be ending: %w", err)
	}
	var over []ended
	if err := tx.SelectContext(ctx, &over, endedSQL, all); err != nil {
		return fmt.Errorf("look at what may have ended: %w", err)
	}
	if len(over) == 0 {
		return nil
	}
	var met []metJob
	err := tx.SelectContext(ctx, &met, meetSQL,
		pg.UUIDs(len(over), func(i int) uuid.UUID { return over[i].ID }), pg.Texts(len(over), func(i int) string { return string(over[i].State) }))
	if err != nil {
		return fmt.Errorf("look who waits: %w", err)
	}
	var good []uuid.UUID
	var vain []metJob
	for _, m := range met {
		if m.Meets {
			good = append(good, m.ID)
		} else {
			vain = append(vain, m)
		}
	}
	if err := cancelVain(ctx, tx, vain); err != nil {
		return err
	}
	return letGo(ctx, tx, good)
}

// letGo lets those of the jobs run that wait for nothing more.
func letGo(ctx context.Context, tx *sqlx.Tx, ids []uuid.UUID) error {
	if len(ids) == 0 {
		return nil
	}
	var free []uuid.UUID
	err := tx.SelectContext(ctx, &free, `
		SELECT g.id FROM unnest($1::uuid[]) AS g (id)
		LEFT JOIN LATERAL (SELECT true AS yes FROM signalstack.dependencies WHERE after_id = g.id LIMIT 1) AS d ON true
		WHERE d.yes IS NULL`, pg.IDs(ids))
	if err != nil {
		return fmt.Errorf("look who waits for nothing more: %w", err)
	}
	return come(ctx, tx, free)
}

// vainSQL ends jobs that wait in vain, unless an operator did before. Who waits for them
// waits in vain as well, or not.
var vainSQL = `
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[]) AS g (id, why)
), canceled AS (
    DELETE FROM signalstack.blocked WHERE job_id = ANY ($1::uuid[]) RETURNING job_id
), forgotten AS (
    DELETE FROM signalstack.dependencies WHERE after_id = ANY (ARRAY(SELECT job_id FROM canceled))
), recorded AS (
    INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
    SELECT job_id, 1, 0, 'canceled', 'canceled', why, NULL, now(), now(), 0 FROM canceled JOIN given ON id = job_id
), marked AS (
    ` + markFollowed("canceled", "true") + `
)
SELECT j.id, j.tenant, j.kind, j.queue, j.event_type, j.endpoint_id FROM canceled AS c
CROSS JOIN LATERAL (SELECT * FROM signalstack.jobs AS j WHERE j.id = c.job_id LIMIT 1) AS j`

// cancelVain cancels jobs that wait for one that has not ended well.
func cancelVain(ctx context.Context, tx *sqlx.Tx, vain []metJob) error {
	if len(vain) == 0 {
		return nil
	}
	var canceled []operated
	err := tx.SelectContext(ctx, &canceled, vainSQL,
		pg.UUIDs(len(vain), func(i int) uuid.UUID { return vain[i].ID }), pg.Texts(len(vain), func(i int) string { return vain[i].why() }))
	if err != nil {
		return fmt.Errorf("cancel %d jobs that wait in vain: %w", len(vain), err)
	}
	facts := make([]analytics.Delta, len(canceled))
	for i := range canceled {
		facts[i] = canceled[i].delta(analytics.JobEnded, string(Canceled))
	}
	return analytics.Record(ctx, tx, facts)
}

// why says why the wait was in vain.
func (m metJob) why() string {
	what := "is not kept any more"
	if m.State.Final() {
		what = "has ended as " + string(m.State)
	}
	return fmt.Sprintf("The job %s, which it waited for, %s.", m.BeforeID, what)
}
