package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/pg"
)

// Held names a claim by its job and lease.
type Held struct {
	JobID uuid.UUID `db:"job_id"`
	Lease int64     `db:"lease"`
}

// Extend renews leases and gives those that are still held. The others
// are lost: stop working on them.
func Extend(ctx context.Context, q pg.Querier, held []Held, lease time.Duration) (map[Held]bool, error) {
	ids, leases := make(pq.StringArray, len(held)), make(pq.Int64Array, len(held))
	for i, h := range held {
		ids[i], leases[i] = h.JobID.String(), h.Lease
	}
	var kept []Held
	err := q.SelectContext(ctx, &kept, `
		UPDATE signalstack.running AS r
		SET lease_until = now() + $3 * interval '1 millisecond'
		FROM unnest($1::uuid[], $2::bigint[]) AS g (job_id, lease)
		WHERE r.job_id = g.job_id AND r.lease = g.lease
		RETURNING r.job_id, r.lease`, ids, leases, lease.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("extend %d leases: %w", len(held), err)
	}
	still := make(map[Held]bool, len(kept))
	for _, h := range kept {
		still[h] = true
	}
	return still, nil
}

// ReleaseOrphans gives back the claims of a worker that it does not know of: the
// answer to their claim was lost. No attempt is burned.
func ReleaseOrphans(ctx context.Context, q pg.Querier, worker uuid.UUID, known []uuid.UUID) (int, error) {
	ids := make(pq.StringArray, len(known))
	for i, id := range known {
		ids[i] = id.String()
	}
	res, err := q.ExecContext(ctx, `
		WITH gone AS (
		    DELETE FROM signalstack.running
		    WHERE worker = $1 AND NOT job_id = ANY ($2::uuid[])
		    RETURNING job_id, queue, priority, attempt, lease
		)
		INSERT INTO signalstack.ready (job_id, queue, priority, run_at, attempt, lease)
		SELECT job_id, queue, priority, now(), attempt - 1, lease FROM gone`, worker, ids)
	if err != nil {
		return 0, fmt.Errorf("release orphans: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("release orphans: %w", err)
	}
	return int(n), nil
}

// Reaped is a job that was taken from a dead worker.
type Reaped struct {
	ID         uuid.UUID     `db:"job_id"`
	Attempt    int           `db:"attempt"`
	State      State         `db:"state"` // Retrying or Failed
	Tenant     string        `db:"tenant"`
	Kind       string        `db:"kind"`
	Queue      string        `db:"queue"`
	EventType  string        `db:"event_type"`
	EndpointID uuid.NullUUID `db:"endpoint_id"`
	DurationMS int64         `db:"duration_ms"`
	LeaseUntil time.Time     `db:"lease_until"`
}

// reapSQL ends expired leases as crashed attempts, in the order of the index
// running_lease_until from where the last pass stopped. Nothing is reaped while
// the server is younger than a lease: its workers were cut off by its restart and
// may still settle.
const reapSQL = `
WITH lost AS MATERIALIZED (
    SELECT job_id, lease_until
    FROM signalstack.running
    WHERE lease_until >= $1::timestamptz AND lease_until < now()
      AND pg_postmaster_start_time() < now() - $2 * interval '1 millisecond'
    ORDER BY lease_until
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM signalstack.running AS r USING lost WHERE r.job_id = lost.job_id
    RETURNING r.*
), judged AS (
    SELECT g.job_id, g.queue, g.priority, g.attempt, g.lease, g.worker, g.started_at, g.lease_until,
           CASE WHEN g.attempt >= j.max_attempts THEN 'failed' ELSE 'retrying' END AS state,
           (extract(epoch FROM now() - g.started_at) * 1000)::bigint AS duration_ms,
           j.tenant, j.kind, j.event_type, j.endpoint_id
    FROM gone AS g
    JOIN signalstack.jobs AS j ON j.id = g.job_id
), recorded AS (
    INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
    SELECT job_id, lease, attempt, state, 'crashed', 'The worker died or lost the database: its lease ran out.',
           worker, started_at, now(), duration_ms
    FROM judged
), again AS (
    INSERT INTO signalstack.ready (job_id, queue, priority, run_at, attempt, lease)
    SELECT job_id, queue, priority, now(), attempt, lease FROM judged WHERE state = 'retrying'
    RETURNING queue, run_at
), told AS (
    SELECT pg_notify('` + Channel + `', queue || ' ' || (extract(epoch FROM min(run_at)) * 1000000)::bigint)
    FROM again
    GROUP BY queue
)
SELECT job_id, attempt, state, tenant, kind, queue, event_type, endpoint_id, duration_ms, lease_until
FROM judged
WHERE (SELECT count(*) FROM told) >= 0`

// reapBatch bounds one reap; the next follows at once while there is more.
const reapBatch = 500

// reap ends up to reapBatch leases that ran out after since.
func reap(ctx context.Context, db *pg.DB, since time.Time, grace time.Duration) ([]Reaped, error) {
	position := timeText(since)
	if since.IsZero() {
		position = "-infinity"
	}
	var reaped []Reaped
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		reaped = nil
		if _, err := tx.ExecContext(ctx, claimSettings); err != nil {
			return fmt.Errorf("set planner: %w", err)
		}
		if err := tx.SelectContext(ctx, &reaped, reapSQL, position, grace.Milliseconds(), reapBatch); err != nil {
			return err
		}
		return analytics.Record(ctx, tx, reapDeltas(reaped))
	})
	if err != nil {
		return nil, fmt.Errorf("reap: %w", err)
	}
	return reaped, nil
}

func reapDeltas(reaped []Reaped) []analytics.Delta {
	var deltas []analytics.Delta
	for _, r := range reaped {
		d := analytics.Delta{
			Fact: analytics.AttemptEnded, Tenant: r.Tenant, Outcome: OutcomeCrashed, Kind: r.Kind, Queue: r.Queue,
			Type: r.EventType, EndpointID: r.EndpointID.UUID, Duration: time.Duration(r.DurationMS) * time.Millisecond, Timed: true,
		}
		deltas = append(deltas, d)
		if r.State.Final() {
			d.Fact, d.Outcome = analytics.JobEnded, string(r.State)
			deltas = append(deltas, d)
		}
	}
	return deltas
}
