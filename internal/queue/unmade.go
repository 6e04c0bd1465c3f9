package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// unmadeSQL writes jobs that are failed from the start: they never wait, so they take
// no turn of an ordering key and wake nobody. The row in attempts has no worker, as
// that of a job which was canceled while it waited.
const unmadeSQL = `
WITH given AS MATERIALIZED (
    SELECT id, tenant, kind, queue, lane, priority::smallint,
           coalesce(run_at, now() + delay_us * interval '1 microsecond') AS run_at,
           payload, event_id, event_type, rule_id, endpoint_id, ordering_key, max_attempts::int, timeout_ms::int, retry, replay_id, schedule_id, error
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::bigint[], $9::bytea[],
                $10::uuid[], $11::text[], $12::uuid[], $13::uuid[], $14::text[], $15::bigint[], $16::bigint[], $17::text[], $18::uuid[], $19::uuid[], $20::text[])
         AS g (id, tenant, kind, queue, lane, priority, run_at, delay_us, payload,
               event_id, event_type, rule_id, endpoint_id, ordering_key, max_attempts, timeout_ms, retry, replay_id, schedule_id, error)
), written AS (
    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, payload, event_id, event_type, rule_id,
                                  endpoint_id, ordering_key, max_attempts, timeout_ms, retry, replay_id, schedule_id, created_at)
    SELECT id, tenant, kind, queue, lane, priority, run_at, payload, event_id, event_type, rule_id,
           endpoint_id, ordering_key, max_attempts, timeout_ms, retry, replay_id, schedule_id, now()
    FROM given
)
INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
SELECT id, 1, 0, 'failed', $21, error, NULL, now(), now(), 0 FROM given`

func writeUnmade(ctx context.Context, q pg.Querier, jobs []NewJob) error {
	why := make(pq.StringArray, len(jobs))
	for i, j := range jobs {
		// It may tell of the event, which may hold what no text can.
		why[i] = strings.ReplaceAll(strings.ToValidUTF8(j.Unmade, "\uFFFD"), "\x00", "\uFFFD")
	}
	if _, err := q.ExecContext(ctx, unmadeSQL, append(enqueueArgs(jobs), why, OutcomeUnmade)...); err != nil {
		return fmt.Errorf("write %d jobs that could not be made: %w", len(jobs), err)
	}
	return nil
}

// refuseUnmade gives a Conflict for a job that could not be made: there is nothing
// that could be tried again.
func refuseUnmade(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) error {
	var why string
	err := tx.GetContext(ctx, &why, `SELECT error FROM signalstack.attempts WHERE job_id = $1 AND outcome = $2`, id, OutcomeUnmade)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether the job was made: %w", err)
	}
	return fault.New(fault.Conflict, "job_unmade",
		"The job could not be made of its event, so there is nothing to try again: %s. Mend the rule with PATCH /rules/{id}, or the endpoint with PATCH /endpoints/{id}, then send or replay the event.", why)
}
