package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

const (
	// stockDays is how many days back finished jobs go.
	stockDays = 7
	// stockBatch is how many jobs one transaction makes.
	stockBatch = 50_000
)

// madeSQL makes jobs from $1 to $2, created at $3 and every $4 microseconds after
// it. Half are the default tenant's, the others five tenants'; a fifth are in
// another queue, and a few in one that is rare. Ids are UUIDv7 of the time, made of
// the number and the salt $5.
const madeSQL = `
WITH made AS (
    SELECT i, at, tenant, hash,
           (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid AS id,
           CASE WHEN i % 10007 = 0 THEN 'rare' WHEN i / 10 % 5 = 0 THEN 'email' ELSE 'default' END AS queue,
           (i / 50 % 4 + 1)::smallint AS priority, $6::int AS payload,
           CASE WHEN i % 3 = 0 THEN ('00000000-0000-7000-8000-00000000000' || i % 7)::uuid END AS endpoint
    FROM generate_series($1::bigint, $2::bigint) AS i
    CROSS JOIN LATERAL (
        SELECT $3::timestamptz + i * $4::bigint * interval '1 microsecond' AS at, md5($5::text || i) AS hash,
               CASE WHEN i % 10 < 5 THEN 'default' ELSE 'tenant-' || i % 10 END AS tenant
    ) AS t
)`

const (
	stockJobs = madeSQL + `
INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, payload, event_type, ordering_key, max_attempts, timeout_ms, retry, created_at, endpoint_id)
SELECT id, tenant, CASE WHEN endpoint IS NULL THEN 'log' ELSE 'webhook' END, queue, tenant, priority, at, convert_to('"' || repeat('x', payload - 2) || '"', 'UTF8'),
       CASE WHEN endpoint IS NULL THEN '' WHEN i % 2 = 0 THEN 'order.paid' ELSE 'order.shipped' END, '', 3, 5000, '', at, endpoint FROM made`

	stockReady = madeSQL + `
INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
SELECT id, queue, tenant, priority, at, 0, 0 FROM made`

	// Due from tomorrow on, over a week.
	stockScheduled = madeSQL + `
INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease)
SELECT id, queue, tenant, priority, at + interval '2 days' + i % 604800 * interval '1 second', 0, 0 FROM made`

	// Two in a hundred failed, one in two hundred was canceled. Webhooks have their
	// exchange on record.
	stockAttempts = madeSQL + `
INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms, exchange, status, error_class)
SELECT id, 1, 1, state, CASE state WHEN 'failed' THEN 'permanent' ELSE state END, CASE state WHEN 'failed' THEN 'no such host' ELSE '' END,
       '00000000-0000-7000-8000-000000000001', at, at + interval '20 milliseconds', 20,
       CASE WHEN endpoint IS NOT NULL THEN convert_to('{"method":"POST","url":"https://example.com/hooks/' || i % 7 || '","status":204,"headers":{"Date":"today"},"body":"answer ' || hash || '"}', 'UTF8') END,
       CASE WHEN endpoint IS NULL OR state = 'canceled' THEN NULL WHEN state = 'succeeded' THEN 204 WHEN i % 100 = 57 THEN 503 ELSE 404 END,
       CASE WHEN endpoint IS NOT NULL AND state = 'canceled' THEN 'timeout' END
FROM made, LATERAL (SELECT CASE WHEN i % 50 = 7 THEN 'failed' WHEN i % 200 = 11 THEN 'canceled' ELSE 'succeeded' END AS state) AS s`

	// The counts of the finished jobs, by the quarter of an hour, which is the finest
	// that a summary reads; six tenants, two queues, five buckets of durations.
	stockCounts = `
INSERT INTO signalstack.analytics_deltas (at, tenant, fact, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us)
SELECT q.at, CASE t WHEN 4 THEN 'default' ELSE 'tenant-' || t END, f.fact, f.outcome, 'log', u.queue, '', '00000000-0000-0000-0000-000000000000', f.bucket,
       $3::bigint, CASE WHEN f.bucket < 0 THEN 0 ELSE $3::bigint * 20000 END
FROM generate_series(date_bin('15 minutes', $1::timestamptz, '2000-01-01Z'), $2::timestamptz, interval '15 minutes') AS q (at),
     generate_series(4, 9) AS t, (VALUES ('default'), ('email')) AS u (queue),
     (VALUES ('job_created', '', -1), ('job', 'succeeded', -1), ('job', 'failed', -1), ('attempt', 'succeeded', 50), ('attempt', 'succeeded', 54),
             ('attempt', 'succeeded', 58), ('attempt', 'succeeded', 62), ('attempt', 'error', 66)) AS f (fact, outcome, bucket)`
)

// stock is many jobs of one sort.
type stock struct {
	salt       string
	n          int
	from, to   time.Time // of their creation
	statements []string
}

// fillStock makes what a large installation has: jobs in every state over the days
// of their partitions, and their counts. It then lies as autovacuum leaves it.
func (s *scratch) fillStock(ctx context.Context, db *pg.DB) error {
	now, err := pg.Now(ctx, db)
	if err != nil {
		return err
	}
	first, yesterday := now.AddDate(0, 0, -stockDays), now.AddDate(0, 0, -1)
	days := make([]time.Time, 0, stockDays+1)
	for d := range stockDays + 1 {
		days = append(days, first.AddDate(0, 0, d))
	}
	if err := queue.EnsurePartitions(ctx, db, days...); err != nil {
		return err
	}
	for _, k := range []stock{
		{"finished", s.o.Finished, first, now, []string{stockJobs, stockAttempts}},
		{"scheduled", s.o.Scheduled, yesterday, now, []string{stockJobs, stockScheduled}},
		{"ready", s.o.Ready, yesterday, now, []string{stockJobs, stockReady}},
	} {
		if err := k.fill(ctx, db, s.o.Payload); err != nil {
			return fmt.Errorf("make %s jobs: %w", k.salt, err)
		}
	}
	if err := fillCounts(ctx, db, first, now, s.o.Finished); err != nil {
		return err
	}
	return settleTables(ctx, db)
}

// settleTables leaves autovacuum and the checkpointer nothing to do.
func settleTables(ctx context.Context, db *pg.DB) error {
	for _, statement := range []string{`VACUUM (ANALYZE)`, `CHECKPOINT`} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("settle the tables: %w", err)
		}
	}
	return nil
}

// fill makes the jobs in batches, two at once.
func (k stock) fill(ctx context.Context, db *pg.DB, payload int) error {
	if k.n == 0 {
		return nil
	}
	step := k.to.Sub(k.from).Microseconds() / int64(k.n)
	var made atomic.Int64
	errs := make([]error, writers)
	var filling sync.WaitGroup
	for w := range writers {
		filling.Go(func() {
			for errs[w] == nil {
				first := made.Add(stockBatch) - stockBatch
				if first >= int64(k.n) {
					return
				}
				last := min(first+stockBatch, int64(k.n))
				errs[w] = pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
					for _, statement := range k.statements {
						if _, err := tx.ExecContext(ctx, statement, first, last-1, k.from, step, k.salt, payload); err != nil {
							return err
						}
					}
					return nil
				})
			}
		})
	}
	filling.Wait()
	return errors.Join(errs...)
}

func fillCounts(ctx context.Context, db *pg.DB, from, to time.Time, finished int) error {
	cells := stockDays * 24 * 4 * 6 * 2 // quarters, tenants, queues
	if _, err := db.ExecContext(ctx, stockCounts, from, to, max(1, finished/cells)); err != nil {
		return fmt.Errorf("make counts: %w", err)
	}
	for {
		n, err := analytics.Fold(ctx, db)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
