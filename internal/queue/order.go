package queue

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// orderingKey names jobs that run one after the other.
type orderingKey struct{ tenant, key string }

// lockKeys makes whoever adds to a key or ends its first job wait for whoever does
// so now: each must see what the other left, or the next job of the key would be
// released twice or never. The locks end with the transaction. They are taken in
// order, so that two batches cannot wait for each other in a circle.
func lockKeys(ctx context.Context, q pg.Querier, keys []orderingKey) error {
	if len(keys) == 0 {
		return nil
	}
	tenants, names := keyColumns(keys)
	_, err := q.ExecContext(ctx, `
		SELECT pg_advisory_xact_lock(h)
		FROM (SELECT DISTINCT hashtextextended(tenant || ' ' || key, 0) AS h
		      FROM unnest($1::text[], $2::text[]) AS k (tenant, key) ORDER BY h) AS hashes`, tenants, names)
	if err != nil {
		return fmt.Errorf("lock ordering keys: %w", err)
	}
	return nil
}

// advance releases the first job of each key, unless it is released already. The
// keys must be locked.
func advance(ctx context.Context, q pg.Querier, keys []orderingKey) error {
	if len(keys) == 0 {
		return nil
	}
	tenants, names := keyColumns(keys)
	// One step of the index ordered_key for each key.
	_, err := q.ExecContext(ctx, `
		WITH first AS MATERIALIZED (
		    SELECT f.job_id
		    FROM (SELECT DISTINCT tenant, key FROM unnest($1::text[], $2::text[]) AS k (tenant, key)) AS k
		    CROSS JOIN LATERAL (
		        SELECT o.job_id, o.released FROM signalstack.ordered AS o
		        WHERE o.tenant = k.tenant AND o.ordering_key = k.key ORDER BY o.seq LIMIT 1
		    ) AS f
		    WHERE NOT f.released
		), released AS (
		    UPDATE signalstack.ordered AS o SET released = true FROM first WHERE o.job_id = first.job_id
		    RETURNING o.job_id, o.queue, o.lane, o.priority, o.run_at, o.lease
		), later AS (
		    INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease)
		    SELECT job_id, queue, lane, priority, run_at, 0, lease FROM released WHERE run_at > now()
		    RETURNING run_at
		), due AS (
		    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
		    SELECT job_id, queue, lane, priority, now(), 0, lease FROM released WHERE run_at <= now()
		    RETURNING queue, lane
		)`+tellDueAndLater, tenants, names)
	if err != nil {
		return fmt.Errorf("advance ordering keys: %w", err)
	}
	return nil
}

// leave takes ended jobs out of the order of their keys.
func leave(ctx context.Context, q pg.Querier, ids pq.StringArray) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := q.ExecContext(ctx, `DELETE FROM signalstack.ordered WHERE job_id = ANY ($1::uuid[])`, ids); err != nil {
		return fmt.Errorf("leave ordering keys: %w", err)
	}
	return nil
}

func keyColumns(keys []orderingKey) (tenants, names pq.StringArray) {
	for _, k := range keys {
		tenants, names = append(tenants, k.tenant), append(names, k.key)
	}
	return tenants, names
}
