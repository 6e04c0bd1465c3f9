package queue

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// orderingKey names jobs that run one after the other.
type orderingKey struct{ tenant, key string }

// lockKey ends an INSERT of ordering keys, which must come in the order of the
// primary key, so that two batches cannot wait for each other in a circle. It locks
// the rows that are there, although it changes none, and the statement returns those
// that were not: the idle keys.
const lockKey = `
    ON CONFLICT (tenant, ordering_key) DO UPDATE SET tenant = k.tenant WHERE false
    RETURNING k.tenant, k.ordering_key`

// advance lets the next job of each key come whose turn is over, or makes
// the key idle when there is none. Nobody else can advance these keys meanwhile, but
// operators can cancel and change jobs that wait, and then it looks again.
func advance(ctx context.Context, q pg.Querier, keys []orderingKey) error {
	for len(keys) > 0 {
		tenants, names := keyColumns(keys)
		// One step of the primary key for each, in its order as writers take them.
		_, err := q.ExecContext(ctx, `
			SELECT FROM (SELECT tenant COLLATE "C", key COLLATE "C" FROM unnest($1::text[], $2::text[]) AS k (tenant, key) ORDER BY 1, 2) AS k
			CROSS JOIN LATERAL (
			    SELECT FROM signalstack.ordering_keys AS o WHERE o.tenant = k.tenant AND o.ordering_key = k.key FOR UPDATE
			) AS o`, tenants, names)
		if err != nil {
			return fmt.Errorf("lock ordering keys: %w", err)
		}
		// What was committed before the locks were got is seen by a new statement only.
		var missed []struct{ Tenant, Key string }
		if err := q.SelectContext(ctx, &missed, advanceSQL, tenants, names); err != nil {
			return fmt.Errorf("advance ordering keys: %w", err)
		}
		keys = keys[:0]
		for _, m := range missed {
			keys = append(keys, orderingKey{m.Tenant, m.Key})
		}
	}
	return nil
}

// advanceSQL moves the first job that waits of each key, by one step of the index
// ordered_key, and removes keys that none waits of. It gives the keys whose first job
// was canceled or changed by an operator just now. Rows are found again by their
// place (ctid), whatever statistics say of the tables.
const advanceSQL = `
WITH k AS MATERIALIZED (
    SELECT k.tenant, k.key, f.at
    FROM unnest($1::text[], $2::text[]) AS k (tenant, key)
    LEFT JOIN LATERAL (
        SELECT o.ctid AS at FROM signalstack.ordered AS o
        WHERE o.tenant = k.tenant AND o.ordering_key = k.key ORDER BY o.seq LIMIT 1
    ) AS f ON true
), next AS (
    DELETE FROM signalstack.ordered WHERE ctid = ANY (ARRAY(SELECT at FROM k WHERE at IS NOT NULL))
    RETURNING tenant, ordering_key, job_id, queue, lane, priority, run_at, lease
), idle AS (
    DELETE FROM signalstack.ordering_keys WHERE ctid = ANY (ARRAY(
        SELECT o.ctid FROM k JOIN signalstack.ordering_keys AS o ON o.tenant = k.tenant AND o.ordering_key = k.key WHERE k.at IS NULL))
), later AS (
    INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease)
    SELECT job_id, queue, lane, priority, run_at, 0, lease FROM next WHERE run_at > now()
    RETURNING run_at
), due AS (
    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
    SELECT job_id, queue, lane, priority, now(), 0, lease FROM next WHERE run_at <= now()
    RETURNING queue, lane
), told AS (` + tellDueAndLater + `
)
SELECT tenant, key FROM k
WHERE at IS NOT NULL AND (tenant, key) NOT IN (SELECT tenant, ordering_key FROM next) AND (SELECT count(*) FROM told) >= 0`

func keyColumns(keys []orderingKey) (tenants, names pq.StringArray) {
	for _, k := range keys {
		tenants, names = append(tenants, k.tenant), append(names, k.key)
	}
	return tenants, names
}
