package queue

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
)

// blockedSQL writes jobs that wait for others, each with what it waits for. Some of
// that may have ended already, or end now without seeing what is written here, so all of
// it is marked for the resolver to look at.
const blockedSQL = `
WITH given AS MATERIALIZED (
    SELECT id, tenant, kind, queue, lane, priority::smallint, run_at, delay_us, payload, event_id, event_type, rule_id, endpoint_id,
           ordering_key, max_attempts::int, timeout_ms::int, retry, replay_id, schedule_id, skips, gathers, after_any, after_jobs::uuid[]
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::bigint[], $9::bytea[],
                $10::uuid[], $11::text[], $12::uuid[], $13::uuid[], $14::text[], $15::bigint[], $16::bigint[], $17::text[], $18::uuid[], $19::uuid[],
                $20::boolean[], $21::boolean[], $22::boolean[], $23::text[])
         AS g (id, tenant, kind, queue, lane, priority, run_at, delay_us, payload,
               event_id, event_type, rule_id, endpoint_id, ordering_key, max_attempts, timeout_ms, retry, replay_id, schedule_id,
               skips, gathers, after_any, after_jobs)
), written AS (
    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, payload, event_id, event_type, rule_id,
                                  endpoint_id, ordering_key, skips, max_attempts, timeout_ms, retry, replay_id, schedule_id, after_any, after_jobs, created_at)
    SELECT id, tenant, kind, queue, lane, priority, coalesce(run_at, now() + delay_us * interval '1 microsecond'), payload, event_id, event_type, rule_id,
           endpoint_id, ordering_key, skips, max_attempts, timeout_ms, retry, replay_id, schedule_id, after_any, after_jobs, now()
    FROM given
), waits AS (
    INSERT INTO signalstack.blocked (job_id, priority, run_at, delay_us, gathers, after_any)
    SELECT id, priority, coalesce(run_at, '-infinity'), delay_us, gathers, after_any FROM given
), pairs AS (
    INSERT INTO signalstack.dependencies (before_id, after_id)
    SELECT DISTINCT b.id, given.id FROM given CROSS JOIN LATERAL unnest(after_jobs) AS b (id)
    RETURNING before_id
)
INSERT INTO signalstack.followed (job_id) SELECT DISTINCT before_id FROM pairs`

// writeBlocked writes jobs that wait for others.
func writeBlocked(ctx context.Context, q pg.Querier, jobs []NewJob) error {
	skips := flags(jobs, func(j *NewJob) bool { return j.Skips })
	gathers := flags(jobs, func(j *NewJob) bool { return j.Gathers })
	anyEnd := flags(jobs, func(j *NewJob) bool { return j.AfterAny })
	// Arrays of arrays must be as long as each other, so each goes as its text.
	after := pg.Texts(len(jobs), func(i int) string { return arrayText(jobs[i].After) })
	if _, err := q.ExecContext(ctx, blockedSQL, append(enqueueArgs(jobs), skips, gathers, anyEnd, after)...); err != nil {
		return fmt.Errorf("write %d jobs that wait for others: %w", len(jobs), err)
	}
	return nil
}

// arrayText is a uuid[] as PostgreSQL writes it.
func arrayText(ids []uuid.UUID) string {
	text, err := arrayOf(ids).Value()
	if err != nil {
		panic("queue: ids have no text: " + err.Error())
	}
	return text.(string)
}

// markFollowed is the text of a statement that marks the jobs of a relation that satisfy a
// condition, which says that they have ended, where others wait for them: by one scan of
// the primary key of dependencies, which is mostly empty. OFFSET 0 keeps the planner from
// reading that whole in its order, for the sake of DISTINCT.
func markFollowed(relation, condition string) string {
	return `INSERT INTO signalstack.followed (job_id)
    SELECT DISTINCT before_id FROM (
        SELECT before_id FROM signalstack.dependencies WHERE before_id = ANY (ARRAY(SELECT e.job_id FROM ` + relation + ` AS e WHERE ` + condition + `)) OFFSET 0
    ) AS d`
}

// comeSQL takes jobs out of blocked and makes them ready or scheduled, those with an
// ordering key in their turn, as enqueueInOrderSQL does with new ones: in the order of
// their key they come now.
const comeSQL = `
WITH left_behind AS (
    DELETE FROM signalstack.blocked WHERE job_id = ANY ($1::uuid[]) RETURNING job_id, priority, run_at, delay_us, gathers
), given AS MATERIALIZED (
    SELECT l.job_id AS id, j.tenant, j.queue, j.lane, l.priority, j.ordering_key, l.gathers,
           greatest(l.run_at, now() + l.delay_us * interval '1 microsecond') AS run_at, row_number() OVER (ORDER BY l.job_id) AS n
    FROM left_behind AS l
    CROSS JOIN LATERAL (SELECT * FROM signalstack.jobs AS j WHERE j.id = l.job_id LIMIT 1) AS j
), ` + inOrderText + `later AS (
    INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease, gathers)
    SELECT id, queue, lane, priority, run_at, 0, 0, gathers FROM given WHERE run_at > now()` + inOrderTurn + `
    RETURNING run_at
), due AS (
    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
    SELECT id, queue, lane, priority, now(), 0, 0 FROM given WHERE run_at <= now()` + inOrderTurn + `
    RETURNING queue, lane
)
` + tellDueAndLater

// come lets jobs run that wait for nothing more.
func come(ctx context.Context, q pg.Querier, ids []uuid.UUID) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := q.ExecContext(ctx, comeSQL, pg.IDs(ids)); err != nil {
		return fmt.Errorf("let %d jobs run that waited for others: %w", len(ids), err)
	}
	return nil
}
