package queue

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
)

// Living is the text of a query with one row, true as yes, when the job of an id, which is
// an SQL expression, waits or runs. Each table is asked by its primary key: the LIMIT keeps
// the planner from another way, and in ready, where another index has the id as well, the
// order does.
func Living(id string) string {
	return strings.ReplaceAll(`SELECT true AS yes FROM (
        (SELECT FROM signalstack.ready WHERE job_id >= {id} AND job_id <= {id} ORDER BY job_id LIMIT 1)
        UNION ALL SELECT FROM signalstack.scheduled WHERE job_id = {id}
        UNION ALL SELECT FROM signalstack.running WHERE job_id = {id}
        UNION ALL SELECT FROM signalstack.ordered WHERE job_id = {id}
        UNION ALL SELECT FROM signalstack.blocked WHERE job_id = {id}
    ) AS w LIMIT 1`, "{id}", id)
}

var unfinishedSQL = `
SELECT g.id FROM unnest($1::uuid[]) AS g (id) CROSS JOIN LATERAL (` + Living("g.id") + `) AS living`

// Unfinished gives those of the jobs that wait or run.
func Unfinished(ctx context.Context, q pg.Querier, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	going := map[uuid.UUID]bool{}
	if len(ids) == 0 {
		return going, nil
	}
	var rows []uuid.UUID
	err := q.SelectContext(ctx, &rows, unfinishedSQL, pg.IDs(ids))
	if err != nil {
		return nil, fmt.Errorf("look for unfinished jobs: %w", err)
	}
	for _, id := range rows {
		going[id] = true
	}
	return going, nil
}
