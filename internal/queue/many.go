package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/pg"
)

// Reopening says how jobs are taken up again.
type Reopening struct {
	Priority int       // of the jobs from now on; 0: what each was made with
	EndedBy  time.Time // a job that ended later, or was tried later, is passed over; zero: none
}

// Passed is a job that an act on many left as it was, and why.
type Passed struct {
	ID  uuid.UUID
	Why string
}

// RetryMany is Retry of many jobs in the caller's transaction, with a few statements
// for all of them. What Retry refuses is passed over. Jobs that are not there (any
// more) are in neither result.
func RetryMany(ctx context.Context, tx *sqlx.Tx, ids []uuid.UUID, how Reopening) (retried int, passed []Passed, err error) {
	jobs, err := takeMany(ctx, tx, ids)
	if err != nil || len(jobs) == 0 {
		return 0, nil, err
	}
	seen, err := lookAtEnded(ctx, tx, jobs, how.EndedBy)
	if err != nil {
		return 0, nil, err
	}
	var good []operated
	var leases []int64
	var facts []analytics.Delta
	for i, j := range jobs {
		if why := seen[i].refusal(); why != "" {
			passed = append(passed, Passed{j.ID, why})
			continue
		}
		if how.Priority != 0 {
			j.Priority = how.Priority
		}
		good, leases = append(good, j), append(leases, *seen[i].Lease)
		facts = append(facts, j.delta(analytics.JobReopened, ""))
	}
	if len(good) == 0 {
		return 0, passed, nil
	}
	n := len(good)
	text := func(of func(*operated) string) pg.Array {
		return pg.Texts(n, func(i int) string { return of(&good[i]) })
	}
	_, err = tx.ExecContext(ctx, retryManySQL,
		pg.UUIDs(n, func(i int) uuid.UUID { return good[i].ID }),
		text(func(j *operated) string { return j.Tenant }),
		text(func(j *operated) string { return j.Queue }),
		text(func(j *operated) string { return j.Lane }),
		pg.Int8s(n, func(i int) int64 { return int64(good[i].Priority) }),
		text(func(j *operated) string { return j.OrderingKey }),
		pg.Int8s(n, func(i int) int64 { return leases[i] }))
	if err != nil {
		return 0, nil, fmt.Errorf("take up %d jobs again: %w", n, err)
	}
	return n, passed, analytics.Record(ctx, tx, facts)
}

// takeMany is take of many jobs, in the order of their ids, as all who lock several do.
// The bounds find the partitions before the ids are looked at.
func takeMany(ctx context.Context, tx *sqlx.Tx, ids []uuid.UUID) ([]operated, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	first, last := ids[0], ids[0]
	for _, id := range ids {
		if id.String() < first.String() {
			first = id
		}
		if id.String() > last.String() {
			last = id
		}
	}
	var jobs []operated
	err := tx.SelectContext(ctx, &jobs, `
		SELECT id, tenant, kind, queue, lane, priority, event_type, endpoint_id, ordering_key, skips
		FROM signalstack.jobs WHERE id = ANY ($1::uuid[]) AND id >= $2::uuid AND id <= $3::uuid
		ORDER BY id FOR UPDATE`, arrayOf(ids), first, last)
	if err != nil {
		return nil, fmt.Errorf("lock %d jobs: %w", len(ids), err)
	}
	return jobs, nil
}

// endedJob is what stands in the way of taking up a job again.
type endedJob struct {
	Lease  *int64 `db:"lease"` // of its newest attempt; nil: it has none
	Living bool   `db:"living"`
	Later  bool   `db:"later"`
	Erased bool   `db:"erased"`
	Unmade bool   `db:"unmade"`
}

func (e endedJob) refusal() string {
	switch {
	case e.Living || e.Lease == nil:
		return "it has not ended; it goes on by itself"
	case e.Later:
		return "it was taken up again meanwhile, and has ended again"
	case e.Erased:
		return "the data of its event was erased, or is not kept any more"
	case e.Unmade:
		return "it could not be made of its event, so there is nothing to try again"
	}
	return ""
}

// lookAtEndedSQL looks at each job by the primary keys. The LIMITs keep the planner from
// another way, which would read whole tables; and where another index has the id as well,
// the order does (as in Living), which on a table that looks empty is the only difference.
var lookAtEndedSQL = `
SELECT a.lease, coalesce(a.finished_at > $2::timestamptz, false) AS later, w.yes IS NOT NULL AS living,
       j.event_id IS NOT NULL AND (e.id IS NULL OR e.erased_at IS NOT NULL) AS erased, u.yes IS NOT NULL AS unmade
FROM unnest($1::uuid[]) WITH ORDINALITY AS g (id, n)
CROSS JOIN LATERAL (SELECT event_id FROM signalstack.jobs WHERE id = g.id LIMIT 1) AS j
LEFT JOIN LATERAL (
    SELECT id, erased_at FROM signalstack.events WHERE id >= j.event_id AND id <= j.event_id ORDER BY id LIMIT 1
) AS e ON true
LEFT JOIN LATERAL (SELECT lease, finished_at FROM signalstack.attempts WHERE job_id = g.id ORDER BY lease DESC LIMIT 1) AS a ON true
LEFT JOIN LATERAL (SELECT true AS yes FROM signalstack.attempts WHERE job_id = g.id AND outcome = $3 LIMIT 1) AS u ON true
LEFT JOIN LATERAL (` + Living("g.id") + `) AS w ON true
ORDER BY g.n`

// lookAtEnded looks at locked jobs, in their order. One that has ended stays so while it
// is locked.
func lookAtEnded(ctx context.Context, tx *sqlx.Tx, jobs []operated, endedBy time.Time) ([]endedJob, error) {
	var by *time.Time
	if !endedBy.IsZero() {
		by = &endedBy
	}
	var seen []endedJob
	err := tx.SelectContext(ctx, &seen, lookAtEndedSQL, pg.UUIDs(len(jobs), func(i int) uuid.UUID { return jobs[i].ID }), by, OutcomeUnmade)
	if err == nil && len(seen) != len(jobs) {
		err = fmt.Errorf("%d of them are there", len(seen))
	}
	if err != nil {
		return nil, fmt.Errorf("look at %d ended jobs: %w", len(jobs), err)
	}
	return seen, nil
}

// retryManySQL makes jobs ready again, those with an ordering key in their turn, as
// enqueueInOrderSQL does with new ones. The leases go on from the last ones, so that no
// old attempt can write.
const retryManySQL = `
WITH given AS MATERIALIZED (
    SELECT id, tenant, queue, lane, priority::smallint, ordering_key, lease, n
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[])
         WITH ORDINALITY AS g (id, tenant, queue, lane, priority, ordering_key, lease, n)
), idle AS (
    INSERT INTO signalstack.ordering_keys AS k (tenant, ordering_key)
    SELECT DISTINCT tenant COLLATE "C", ordering_key COLLATE "C" FROM given WHERE ordering_key <> '' ORDER BY 1, 2` + lockKey + `
), turns AS MATERIALIZED (
    SELECT min(n) AS n FROM idle JOIN given USING (tenant, ordering_key) GROUP BY tenant, ordering_key
), in_order AS (
    INSERT INTO signalstack.ordered (job_id, tenant, ordering_key, queue, lane, priority, run_at, lease)
    SELECT id, tenant, ordering_key, queue, lane, priority, now(), lease FROM given
    WHERE ordering_key <> '' AND n NOT IN (SELECT n FROM turns) ORDER BY n
), due AS (
    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
    SELECT id, queue, lane, priority, now(), 0, lease FROM given WHERE ordering_key = '' OR n IN (SELECT n FROM turns)
    RETURNING queue, lane
)
SELECT signalstack.notify_ready(queue, array_agg(DISTINCT lane)) FROM due GROUP BY queue`

// CancelMany is Cancel of many jobs in the caller's transaction, with a few statements
// for all of them: it says how many were canceled, and of how many that run the worker
// was asked. The others have ended.
func CancelMany(ctx context.Context, tx *sqlx.Tx, ids []uuid.UUID) (canceled, asked int, err error) {
	jobs, err := takeMany(ctx, tx, ids)
	if err != nil {
		return 0, 0, err
	}
	left := make(map[uuid.UUID]*operated, len(jobs))
	for i := range jobs {
		left[jobs[i].ID] = &jobs[i]
	}
	// A job that moves meanwhile, as its turn or its time comes, is looked for again.
	for try := 0; len(left) > 0 && try < operateTries; try++ {
		gone, err := cancelManyWaiting(ctx, tx, left)
		if err != nil {
			return 0, 0, err
		}
		ending, err := cancelManyRunning(ctx, tx, left)
		if err != nil {
			return 0, 0, err
		}
		canceled, asked = canceled+gone, asked+ending
		if gone+ending == 0 && try > 0 {
			break // all that is left has ended
		}
	}
	return canceled, asked, nil
}

// cancelManySQL ends jobs that wait. A claim that has a row is waited for: then it is gone
// from here. The rows of ready are found as in lookAtEndedSQL.
var cancelManySQL = `
WITH given AS MATERIALIZED (
    SELECT id FROM unnest($1::uuid[]) AS g (id)
), r AS (
    DELETE FROM signalstack.ready WHERE ctid = ANY (ARRAY(
        SELECT f.ctid FROM given AS g CROSS JOIN LATERAL (
            SELECT ctid FROM signalstack.ready WHERE job_id >= g.id AND job_id <= g.id ORDER BY job_id LIMIT 1
        ) AS f))
    RETURNING job_id, attempt, lease, true AS came
), s AS (
    DELETE FROM signalstack.scheduled WHERE job_id = ANY ($1::uuid[]) RETURNING job_id, attempt, lease, true
), o AS (
    DELETE FROM signalstack.ordered WHERE job_id = ANY ($1::uuid[]) RETURNING job_id, 0, lease, false
), b AS (
    DELETE FROM signalstack.blocked WHERE job_id = ANY ($1::uuid[]) RETURNING job_id, 0, 0::bigint, false
), waiting AS (
    SELECT * FROM r UNION ALL SELECT * FROM s UNION ALL SELECT * FROM o UNION ALL SELECT * FROM b
), forgotten AS (
    DELETE FROM signalstack.dependencies WHERE after_id = ANY (ARRAY(SELECT job_id FROM b))
), late AS (
    DELETE FROM signalstack.cancels WHERE job_id = ANY (ARRAY(SELECT job_id FROM waiting))
), recorded AS (
    INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
    SELECT job_id, lease + 1, attempt, 'canceled', 'canceled', '', NULL, now(), now(), 0
    FROM waiting
), followed AS (
    ` + markFollowed("waiting", "true") + `
)
SELECT job_id, attempt, came FROM waiting`

// cancelManyWaiting cancels those of the jobs that wait, and takes them out of the map.
func cancelManyWaiting(ctx context.Context, tx *sqlx.Tx, left map[uuid.UUID]*operated) (int, error) {
	var canceled []struct {
		JobID   uuid.UUID `db:"job_id"`
		Attempt int       `db:"attempt"`
		Came    bool      `db:"came"` // it waited for no other of its ordering key
	}
	err := tx.SelectContext(ctx, &canceled, cancelManySQL, idsLeft(left))
	if err != nil {
		return 0, fmt.Errorf("cancel waiting jobs: %w", err)
	}
	var keys []orderingKey
	var facts []analytics.Delta
	for _, c := range canceled {
		j := left[c.JobID]
		delete(left, c.JobID)
		facts = append(facts, j.delta(analytics.JobEnded, string(Canceled)))
		if c.Came && (c.Attempt == 0 || !j.Skips) { // it had its turn
			keys = append(keys, j.keys()...)
		}
	}
	if err := advance(ctx, tx, keys); err != nil {
		return 0, err
	}
	return len(canceled), analytics.Record(ctx, tx, facts)
}

// cancelManyRunning asks the workers of those of the jobs that run to end them, and
// takes them out of the map.
func cancelManyRunning(ctx context.Context, tx *sqlx.Tx, left map[uuid.UUID]*operated) (int, error) {
	if len(left) == 0 {
		return 0, nil
	}
	var asked []struct {
		JobID uuid.UUID `db:"job_id"`
		Told  string    `db:"told"`
	}
	err := tx.SelectContext(ctx, &asked, `
		WITH held AS (
		    SELECT job_id FROM signalstack.running WHERE job_id = ANY ($1::uuid[]) ORDER BY job_id FOR UPDATE
		), asked AS (
		    INSERT INTO signalstack.cancels (job_id, requested_at) SELECT job_id, now() FROM held
		    ON CONFLICT (job_id) DO UPDATE SET requested_at = cancels.requested_at
		    RETURNING job_id
		)
		SELECT job_id, pg_notify($2, 'cancel' || E'\t' || job_id)::text AS told FROM asked`, idsLeft(left), Channel)
	if err != nil {
		return 0, fmt.Errorf("cancel running jobs: %w", err)
	}
	for _, a := range asked {
		delete(left, a.JobID)
	}
	return len(asked), nil
}

func idsLeft(jobs map[uuid.UUID]*operated) pg.Array {
	ids := make([]uuid.UUID, 0, len(jobs))
	for id := range jobs {
		ids = append(ids, id)
	}
	return pg.IDs(ids)
}
