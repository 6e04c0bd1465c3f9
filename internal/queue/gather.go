package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
)

// gatherSlack is how far before the job that gathers, or before now, others are looked
// for: what lies before is mostly dead rows that an old snapshot keeps.
const gatherSlack = 5 * time.Second

// gatherSQL claims more jobs of the lane that a worker has a job of. First come those
// that are ready, from where the index ready_claim has the worker's own job, then those
// that wait for company (scheduled_gathers), the oldest first. Rows that others hold are
// skipped. The new leases are not counted by limits, which have counted the job that
// gathers.
const gatherSQL = `
WITH waiting AS MATERIALIZED (
    SELECT r.ctid AS at FROM signalstack.ready AS r
    WHERE r.queue = $1 AND r.lane = $2 AND r.priority = $3 AND r.ready_at >= $4::timestamptz
    ORDER BY r.ready_at, r.job_id LIMIT $5
    FOR UPDATE SKIP LOCKED
), early AS MATERIALIZED (
    SELECT s.ctid AS at FROM signalstack.scheduled AS s
    WHERE s.gathers AND s.queue = $1 AND s.lane = $2 AND s.run_at >= now() - $6 * interval '1 millisecond'
    ORDER BY s.run_at LIMIT $5 - (SELECT count(*) FROM waiting)
    FOR UPDATE SKIP LOCKED
), due AS (
    DELETE FROM signalstack.ready AS r USING waiting WHERE r.ctid = waiting.at
    RETURNING r.job_id, r.queue, r.lane, r.priority, r.ready_at, r.attempt, r.lease
), sooner AS (
    DELETE FROM signalstack.scheduled AS s USING early WHERE s.ctid = early.at
    RETURNING s.job_id, s.queue, s.lane, s.priority, now() AS ready_at, s.attempt, s.lease
), claimed AS (
    INSERT INTO signalstack.running (job_id, queue, lane, priority, ready_at, attempt, lease, worker, limited, started_at, lease_until)
    SELECT job_id, queue, lane, priority, ready_at, attempt + 1, lease + 1, $7, false, now(), now() + $8 * interval '1 millisecond'
    FROM (SELECT * FROM due UNION ALL SELECT * FROM sooner) AS g
    RETURNING job_id, queue, lane, priority, ready_at, attempt, lease, started_at
)` + claimedColumns + `
FROM claimed AS c` + claimedJoins

// Gather claims up to most more jobs of the lane and priority of one that the worker
// has, past all turns and limits, to be done together with it. Those that wait for
// company come before their time. Where the answer is lost they are orphans, as after a
// claim.
func Gather(ctx context.Context, q pg.Querier, with *Claimed, most int, worker uuid.UUID, lease time.Duration) ([]Claimed, error) {
	rows, err := q.QueryContext(ctx, gatherSQL, with.Queue, with.Lane, with.Priority, timeText(with.ReadyAt.Add(-gatherSlack)), most,
		gatherSlack.Milliseconds(), worker, lease.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("gather jobs of lane %s: %w", with.Lane, err)
	}
	jobs, _, err := scanClaimed(rows, most)
	return jobs, err
}
