package queue

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

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
	// In the order of the ids, as settles lock them too.
	held = slices.SortedFunc(slices.Values(held), func(a, b Held) int { return bytes.Compare(a.JobID[:], b.JobID[:]) })
	ids, leases := heldColumns(held)
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

func heldColumns(held []Held) (pq.StringArray, pq.Int64Array) {
	ids, leases := make(pq.StringArray, len(held)), make(pq.Int64Array, len(held))
	for i, h := range held {
		ids[i], leases[i] = h.JobID.String(), h.Lease
	}
	return ids, leases
}

// ReleaseOrphans gives back the claims of a worker that it does not know of: the
// answer to their claim was lost. No attempt is burned. It is a transaction of its
// own: a statement that the network delivers late changes nothing without its
// COMMIT.
func ReleaseOrphans(ctx context.Context, db *pg.DB, worker uuid.UUID, known []Held) (int, error) {
	ids, leases := heldColumns(known)
	released := 0
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &released, `
			WITH gone AS (
			    DELETE FROM signalstack.running AS r
			    WHERE r.worker = $1
			      AND NOT EXISTS (SELECT FROM unnest($2::uuid[], $3::bigint[]) AS k (job_id, lease) WHERE k.job_id = r.job_id AND k.lease = r.lease)
			    RETURNING job_id, queue, lane, priority, attempt, lease
			), due AS (
			    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
			    SELECT job_id, queue, lane, priority, now(), attempt - 1, lease FROM gone
			    RETURNING queue, lane
			), told AS (
			    SELECT signalstack.notify_ready(queue, array_agg(DISTINCT lane)) FROM due GROUP BY queue
			)
			SELECT (SELECT count(*) FROM due) + 0 * (SELECT count(*) FROM told)`, worker, ids, leases)
	})
	if err != nil {
		return 0, fmt.Errorf("release orphans: %w", err)
	}
	return released, nil
}

// Recorded gives those of the claims whose end is on record: a settle whose answer
// was lost did happen.
func Recorded(ctx context.Context, q pg.Querier, held []Held) (map[Held]State, error) {
	ids, leases := heldColumns(held)
	var rows []struct {
		Held
		State State `db:"state"`
	}
	err := q.SelectContext(ctx, &rows, `
		SELECT a.job_id, a.lease, a.state
		FROM unnest($1::uuid[], $2::bigint[]) AS g (job_id, lease)
		JOIN signalstack.attempts AS a ON a.job_id = g.job_id AND a.lease = g.lease
		WHERE a.outcome <> 'crashed'`, ids, leases)
	if err != nil {
		return nil, fmt.Errorf("look for recorded ends: %w", err)
	}
	states := make(map[Held]State, len(rows))
	for _, r := range rows {
		states[r.Held] = r.State
	}
	return states, nil
}
