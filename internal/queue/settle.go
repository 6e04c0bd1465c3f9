package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// State is where a job stands.
type State string

// The states of a job; the last three are final.
const (
	Scheduled State = "scheduled"
	Pending   State = "pending"
	Running   State = "running"
	Retrying  State = "retrying"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"

	// Released is no state of a job but a way to settle: the job goes back as if
	// it had not been claimed.
	Released State = "released"
)

// Final says whether a job in this state stays in it.
func (s State) Final() bool { return s == Succeeded || s == Failed || s == Canceled }

// Outcomes of an attempt.
const (
	OutcomeSucceeded = "succeeded"
	OutcomeError     = "error"     // tried again, unless it was the last attempt
	OutcomePermanent = "permanent" // no further attempt would help
	OutcomeTimeout   = "timeout"
	OutcomePanic     = "panic"
	OutcomeCrashed   = "crashed" // its worker died
)

// Settlement ends one claim.
type Settlement struct {
	JobID    uuid.UUID
	Lease    int64
	State    State         // Succeeded, Failed, Canceled, Retrying or Released
	Outcome  string        // of the attempt
	Error    string        // "" on success
	Delay    time.Duration // before the next attempt, when there is one
	Duration time.Duration
	Exchange json.RawMessage // nil: none
}

// settleSQL ends claims whose lease is still theirs: it deletes the running row,
// appends the attempt and, when the job goes on, makes it ready again. A row of
// the input whose lease is gone matches nothing and is missing in the answer.
const settleSQL = `
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bytea[])
             AS g (job_id, lease, state, outcome, error, delay_us, duration_ms, exchange)
), gone AS (
    DELETE FROM signalstack.running AS r USING given AS g
    WHERE r.job_id = g.job_id AND r.lease = g.lease
    RETURNING r.job_id, r.queue, r.priority, r.attempt, r.lease, r.worker, r.started_at,
              g.state, g.outcome, g.error, g.delay_us, g.duration_ms, g.exchange
), recorded AS (
    INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms, exchange)
    SELECT job_id, lease, attempt, state, outcome, error, worker, started_at, now(), duration_ms, nullif(exchange, '')
    FROM gone
    WHERE state <> 'released'
), again AS (
    INSERT INTO signalstack.ready (job_id, queue, priority, run_at, attempt, lease)
    SELECT job_id, queue, priority, now() + delay_us * interval '1 microsecond',
           CASE state WHEN 'released' THEN attempt - 1 ELSE attempt END, lease
    FROM gone
    WHERE state IN ('retrying', 'released')
    RETURNING queue, run_at
), told AS (
    SELECT pg_notify('` + Channel + `', queue || ' ' || (extract(epoch FROM min(run_at)) * 1000000)::bigint)
    FROM again
    WHERE run_at <= now()
    GROUP BY queue
)
SELECT job_id, (SELECT count(*) FROM told) FROM gone`

// Settle ends claims in the caller's transaction and gives the ids of those that
// were still theirs to end. The others are stale: their lease was taken away and
// another attempt stands.
func Settle(ctx context.Context, q pg.Querier, all []Settlement) (map[uuid.UUID]bool, error) {
	rows, err := q.QueryContext(ctx, settleSQL, settleArgs(all)...)
	if err != nil {
		return nil, fmt.Errorf("settle %d jobs: %w", len(all), err)
	}
	defer func() { _ = rows.Close() }()
	accepted := make(map[uuid.UUID]bool, len(all))
	for rows.Next() {
		var id uuid.UUID
		var told int
		if err := rows.Scan(&id, &told); err != nil {
			return nil, fmt.Errorf("settle %d jobs: %w", len(all), err)
		}
		accepted[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("settle %d jobs: %w", len(all), err)
	}
	return accepted, nil
}

func settleArgs(all []Settlement) []any {
	n := len(all)
	ids, states, outcomes, errs := make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
	leases, delays, durations := make(pq.Int64Array, n), make(pq.Int64Array, n), make(pq.Int64Array, n)
	exchanges := make(pq.ByteaArray, n)
	for i, s := range all {
		ids[i], leases[i], states[i], outcomes[i], errs[i] = s.JobID.String(), s.Lease, string(s.State), s.Outcome, s.Error
		delays[i], durations[i], exchanges[i] = s.Delay.Microseconds(), s.Duration.Milliseconds(), s.Exchange
	}
	return []any{ids, leases, states, outcomes, errs, delays, durations, exchanges}
}
