package analytics

import (
	"context"
	"fmt"

	"github.com/signalstack/signalstack/internal/pg"
)

// Unfinished gives how many jobs of each queue have not ended, from the counts:
// those that were created or taken up again, less those that ended.
func Unfinished(ctx context.Context, q pg.Querier) (map[string]int64, error) {
	var rows []struct {
		Queue string
		N     int64
	}
	// The days of the rollups and what is not folded yet, in one snapshot.
	err := q.SelectContext(ctx, &rows, `
		SELECT queue, sum(CASE fact WHEN 'job' THEN -n ELSE n END)::bigint AS n
		FROM (
		    SELECT queue, fact, n FROM signalstack.analytics_rollups WHERE grain = 1440 AND fact IN ('job', 'job_created', 'job_reopened')
		    UNION ALL
		    SELECT queue, fact, n FROM signalstack.analytics_deltas WHERE fact IN ('job', 'job_created', 'job_reopened')
		) AS counted
		GROUP BY queue`)
	if err != nil {
		return nil, fmt.Errorf("count unfinished jobs: %w", err)
	}
	counts := make(map[string]int64, len(rows))
	for _, r := range rows {
		counts[r.Queue] = r.N
	}
	return counts, nil
}
