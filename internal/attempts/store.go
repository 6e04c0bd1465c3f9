package attempts

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// What one request may cost, in rows that are looked at. A text is looked for in up to
// 36 KiB of each.
const (
	leastScan = 100
	mostScan  = 5_000
	textScan  = 1_000

	mostScanned = 40_000
	textScanned = 8_000
	mostTime    = time.Second // after which no further slice is begun
)

// page is a part of the log.
type page struct {
	attempts []Logged
	last     place
	end      bool
}

// list gives up to limit attempts that fit after a place. Slices grow, since a filter
// that takes most is served by the first.
func list(ctx context.Context, db *pg.DB, f Filter, from place, limit int) (page, error) {
	most, budget := mostScan, mostScanned
	if f.Text != "" {
		most, budget = textScan, textScanned
	}
	p := page{last: from}
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		if err := pg.HoldPlans(ctx, tx); err != nil {
			return err
		}
		begun := time.Now()
		for scan := max(limit, leastScan); ; scan = min(4*scan, most) {
			s, err := f.next(ctx, tx, p.last, scan, limit-len(p.attempts))
			if err != nil {
				return err
			}
			found, err := read(ctx, tx, s.keys)
			if err != nil {
				return err
			}
			for _, a := range found {
				if f.Text == "" || a.says(lower(f.Text)) {
					p.attempts = append(p.attempts, a)
				}
			}
			p.last, p.end = s.last, s.end
			budget -= scan
			if p.end || len(p.attempts) == limit || budget <= 0 || time.Since(begun) > mostTime {
				return nil
			}
		}
	})
	return p, err
}

// get gives one attempt.
func get(ctx context.Context, db *pg.DB, job uuid.UUID, lease int64) (Logged, error) {
	found, err := read(ctx, db, []place{{job, lease}})
	if err != nil {
		return Logged{}, err
	}
	if len(found) == 0 {
		return Logged{}, fault.Missing("attempt", fmt.Sprintf("%s/%d", job, lease))
	}
	return found[0], nil
}

// readText gives attempts by their keys: of each one step down a few primary keys. The
// newest attempt of a job that waits says when the next is due.
const readText = `
SELECT k.job_id, k.lease, a.attempt, a.state, a.outcome, a.error, a.worker, a.started_at, a.finished_at, a.duration_ms, a.status, a.error_class,
       a.exchange, j.tenant, j.kind, j.queue, j.event_id, j.event_type, j.rule_id, j.endpoint_id, j.created_at AS job_created_at,
       n.at AS next_attempt_at
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS k (job_id, lease, place)
CROSS JOIN LATERAL (SELECT * FROM signalstack.attempts AS a WHERE a.job_id = k.job_id AND a.lease = k.lease AND a.worker IS NOT NULL LIMIT 1) AS a
CROSS JOIN LATERAL (SELECT * FROM signalstack.jobs AS j WHERE j.id = k.job_id LIMIT 1) AS j
LEFT JOIN LATERAL (
    SELECT w.at FROM (
        SELECT ready_at AS at FROM signalstack.ready WHERE job_id = k.job_id
        UNION ALL SELECT run_at FROM signalstack.scheduled WHERE job_id = k.job_id
        UNION ALL SELECT run_at FROM signalstack.ordered WHERE job_id = k.job_id
    ) AS w
    WHERE NOT EXISTS (SELECT FROM signalstack.attempts AS later WHERE later.job_id = k.job_id AND later.lease > k.lease)
    LIMIT 1
) AS n ON true
ORDER BY k.place`

func read(ctx context.Context, q pg.Querier, keys []place) ([]Logged, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ids, leases := make(pq.StringArray, len(keys)), make(pq.Int64Array, len(keys))
	for i, k := range keys {
		ids[i], leases[i] = k.job.String(), k.lease
	}
	var all []Logged
	if err := q.SelectContext(ctx, &all, readText, ids, leases); err != nil {
		return nil, fmt.Errorf("read attempts: %w", err)
	}
	for i := range all {
		all[i].unpack()
	}
	return all, nil
}
