package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// Depth is what a queue's rows tell without being counted one by one.
type Depth struct {
	Running       int64
	OldestReadyAt *time.Time // of the first lanes, when there are very many
}

// depthLanes bounds the lanes that are looked into for the oldest job.
const depthLanes = 500

// Depths gives the depth of every queue with jobs that run or are ready.
func Depths(ctx context.Context, q pg.Querier) (map[string]Depth, error) {
	var rows []struct {
		Queue   string
		Running int64
		Oldest  *time.Time
	}
	// The lanes are found by steps down the index ready_claim, and the oldest job of
	// each priority of a lane is the first of its range.
	err := q.SelectContext(ctx, &rows, `
		WITH RECURSIVE lane AS (
		    (SELECT queue, lane, 1 AS n FROM signalstack.ready ORDER BY queue, lane LIMIT 1)
		    UNION ALL
		    SELECT next.queue, next.lane, lane.n + 1
		    FROM lane CROSS JOIN LATERAL (
		        SELECT r.queue, r.lane FROM signalstack.ready AS r
		        WHERE (r.queue, r.lane) > (lane.queue, lane.lane) ORDER BY r.queue, r.lane LIMIT 1
		    ) AS next
		    WHERE lane.n < $1
		), oldest AS (
		    SELECT lane.queue, min(first.ready_at) AS at
		    FROM lane CROSS JOIN (VALUES (1::smallint), (2), (3), (4)) AS p (priority)
		    CROSS JOIN LATERAL (
		        SELECT r.ready_at FROM signalstack.ready AS r
		        WHERE r.queue = lane.queue AND r.lane = lane.lane AND r.priority = p.priority ORDER BY r.ready_at LIMIT 1
		    ) AS first
		    GROUP BY lane.queue
		), running AS (
		    SELECT queue, count(*) AS n FROM signalstack.running GROUP BY queue
		)
		SELECT coalesce(oldest.queue, running.queue) AS queue, coalesce(running.n, 0) AS running, oldest.at AS oldest
		FROM oldest FULL JOIN running ON running.queue = oldest.queue`, depthLanes)
	if err != nil {
		return nil, fmt.Errorf("read depths of queues: %w", err)
	}
	depths := make(map[string]Depth, len(rows))
	for _, r := range rows {
		depths[r.Queue] = Depth{Running: r.Running, OldestReadyAt: r.Oldest}
	}
	return depths, nil
}
