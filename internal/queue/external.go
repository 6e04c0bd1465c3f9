package queue

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// external is the queue of external jobs that name none, and begins the names of
// their others.
const external = "external"

// ExternalQueue gives the queue that a name means for jobs that are handed out to
// workers of other programs. They stand in queues of their own, so that no runner
// walks over them and no handing out over the jobs of runners.
func ExternalQueue(name string) string {
	switch {
	case name == "" || name == DefaultQueue:
		return external
	case IsExternalQueue(name):
		return name
	}
	return external + ":" + name
}

// IsExternalQueue says whether the jobs of a queue are handed out.
func IsExternalQueue(name string) bool {
	return name == external || strings.HasPrefix(name, external+":")
}

// Outstanding is a claim that is still held, with what its end needs to know. Of its
// job neither payload nor event is read.
type Outstanding struct {
	Claimed
	Now    time.Time
	Wanted bool // somebody wants it canceled
}

// Deadline is when the attempt has taken as long as the job lets it.
func (o *Outstanding) Deadline() time.Time {
	return o.StartedAt.Add(time.Duration(o.TimeoutMS) * time.Millisecond)
}

// FindOutstanding gives those of the claims that are still held. Both tables are read
// by their primary keys, row by row.
func FindOutstanding(ctx context.Context, q pg.Querier, held []Held) (map[Held]*Outstanding, error) {
	ids, leases := heldColumns(held)
	rows, err := q.QueryContext(ctx, `
		SELECT r.job_id, r.lease, r.attempt, r.started_at, r.queue, r.lane, j.tenant, j.kind, j.endpoint_id, j.ordering_key, j.skips,
		       j.max_attempts, j.timeout_ms, j.retry, j.created_at, j.event_id, j.event_type, now(),
		       EXISTS (SELECT FROM signalstack.cancels AS c WHERE c.job_id = r.job_id)
		FROM unnest($1::uuid[], $2::bigint[]) AS g (job_id, lease)
		CROSS JOIN LATERAL (SELECT * FROM signalstack.running AS r WHERE r.job_id = g.job_id AND r.lease = g.lease LIMIT 1) AS r
		CROSS JOIN LATERAL (SELECT * FROM signalstack.jobs AS j WHERE j.id = g.job_id LIMIT 1) AS j`, ids, leases)
	if err != nil {
		return nil, fmt.Errorf("look for %d leases: %w", len(held), err)
	}
	defer func() { _ = rows.Close() }()
	found := make(map[Held]*Outstanding, len(held))
	for rows.Next() {
		o := &Outstanding{}
		if err := rows.Scan(&o.ID, &o.Lease, &o.Attempt, &o.StartedAt, &o.Queue, &o.Lane, &o.Tenant, &o.Kind, &o.EndpointID, &o.OrderingKey, &o.Skips,
			&o.MaxAttempts, &o.TimeoutMS, &o.Retry, &o.CreatedAt, &o.EventID, &o.EventType, &o.Now, &o.Wanted); err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		found[Held{o.ID, o.Lease}] = o
	}
	return found, rows.Err()
}

// Extension renews one lease for a time; 0 leaves its end as it is.
type Extension struct {
	Held
	For time.Duration
}

// Extended is a lease that is held.
type Extended struct {
	Held
	Until    time.Time `db:"lease_until"`
	Deadline time.Time `db:"deadline"`
	Wanted   bool      `db:"wanted"` // somebody wants the job canceled
}

// ExtendWithin renews leases of attempts that have taken no longer than their jobs let
// them, and gives those. A lease ends half its length after that time at the latest: a
// worker that renews it each third of its length is told so, and one that does not is
// taken for dead.
func ExtendWithin(ctx context.Context, q pg.Querier, all []Extension) (map[Held]Extended, error) {
	// In the order of the ids, as settles lock them too.
	all = slices.SortedFunc(slices.Values(all), func(a, b Extension) int { return bytes.Compare(a.JobID[:], b.JobID[:]) })
	ids, leases, times := make(pq.StringArray, len(all)), make(pq.Int64Array, len(all)), make(pq.Int64Array, len(all))
	for i, e := range all {
		ids[i], leases[i], times[i] = e.JobID.String(), e.Lease, e.For.Milliseconds()
	}
	var rows []Extended
	err := q.SelectContext(ctx, &rows, `
		UPDATE signalstack.running AS r
		SET lease_until = CASE WHEN g.for_ms = 0 THEN r.lease_until
		                       ELSE least(now() + g.for_ms * interval '1 millisecond', r.started_at + (j.timeout_ms + g.for_ms / 2) * interval '1 millisecond') END
		FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS g (job_id, lease, for_ms)
		CROSS JOIN LATERAL (SELECT j.timeout_ms FROM signalstack.jobs AS j WHERE j.id = g.job_id LIMIT 1) AS j
		WHERE r.job_id = g.job_id AND r.lease = g.lease AND now() < r.started_at + j.timeout_ms * interval '1 millisecond'
		RETURNING r.job_id, r.lease, r.lease_until, r.started_at + j.timeout_ms * interval '1 millisecond' AS deadline,
		          EXISTS (SELECT FROM signalstack.cancels AS c WHERE c.job_id = r.job_id) AS wanted`, ids, leases, times)
	if err != nil {
		return nil, fmt.Errorf("extend %d leases: %w", len(all), err)
	}
	kept := make(map[Held]Extended, len(rows))
	for _, e := range rows {
		kept[e.Held] = e
	}
	return kept, nil
}

// ReleaseClaimed gives back what a worker claimed after a time, without burning an
// attempt: the answer to that claim was lost. It is ReleaseOrphans for who does not
// know what the worker holds from before.
func ReleaseClaimed(ctx context.Context, db *pg.DB, worker uuid.UUID, after time.Time) (int, error) {
	var lost []Held
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		lost = nil
		// The whole of running is read: this happens after a failure only.
		if err := tx.SelectContext(ctx, &lost, `
			SELECT job_id, lease FROM signalstack.running WHERE worker = $1 AND started_at > $2::timestamptz`, worker, positionText(after)); err != nil {
			return err
		}
		return release(ctx, tx, lost)
	})
	if err != nil {
		return 0, fmt.Errorf("release orphans: %w", err)
	}
	return len(lost), nil
}

// Release gives claims back, without burning an attempt, unless they are lost already.
func Release(ctx context.Context, db *pg.DB, held []Held) error {
	return pg.InTx(ctx, db, func(tx *sqlx.Tx) error { return release(ctx, tx, held) })
}

func release(ctx context.Context, tx *sqlx.Tx, held []Held) error {
	if len(held) == 0 {
		return nil
	}
	if err := pg.HoldPlans(ctx, tx); err != nil {
		return err
	}
	all := make([]Settlement, len(held))
	for i, h := range held {
		all[i] = Settlement{JobID: h.JobID, Lease: h.Lease, State: Released}
	}
	_, err := Settle(ctx, tx, all)
	return err
}
