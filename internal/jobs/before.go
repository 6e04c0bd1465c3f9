package jobs

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Before is a job that another waited for.
type Before struct {
	ID     uuid.UUID    `db:"id" json:"id"`
	State  queue.State  `db:"state" json:"state" enum:"succeeded,failed,canceled" doc:"How it ended"`
	Result httpapi.JSON `db:"result" json:"result,omitempty" doc:"What it came to, of jobs that say so"`
}

// Bounds of what a job sees of those that it waited for: so many of them, with results
// that have so many bytes together, and as many in all where several jobs are claimed at
// once. GET /jobs/{id} has the others.
const (
	MaxBefore         = 1000
	maxBeforeBytes    = 1 << 20
	maxBeforeBytesAll = 16 << 20
)

// What after_outcome may be; nothing is AfterSuccess.
const (
	AfterSuccess = "success"
	AfterAny     = "any"
)

// beforeSQL finds what jobs waited for, by the primary key of attempts, one id after the
// other. Results beyond the bounds are not sent.
const beforeSQL = `
SELECT job_id, id, state, CASE WHEN sum(bytes) OVER (PARTITION BY at ORDER BY n) <= $3 AND sum(bytes) OVER (ORDER BY at, n) <= $4 THEN result END AS result
FROM (
    SELECT c.job_id, c.at, b.id, b.n, a.state, a.result, coalesce(octet_length(a.result), 0) AS bytes
    FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS c (job_id, after_jobs, at)
    CROSS JOIN LATERAL unnest(c.after_jobs::uuid[]) WITH ORDINALITY AS b (id, n)
    CROSS JOIN LATERAL (SELECT state, result FROM signalstack.attempts WHERE job_id = b.id ORDER BY lease DESC LIMIT 1) AS a
    WHERE b.n <= $5 AND a.state <> 'retrying'
) AS found
ORDER BY at, n`

// BeforeOf gives the jobs that claimed ones waited for, each list in the order in which
// that was said, by the id of the job that waited. Those that are not kept any more are
// left out, and the list is empty when none is.
func BeforeOf(ctx context.Context, q pg.Querier, claimed []queue.Claimed) (map[uuid.UUID][]Before, error) {
	found := map[uuid.UUID][]Before{}
	var ids, afters pq.StringArray
	for i := range claimed {
		if c := &claimed[i]; c.AfterJobs != nil {
			ids, afters = append(ids, c.ID.String()), append(afters, *c.AfterJobs)
			found[c.ID] = []Before{}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []struct {
		JobID uuid.UUID `db:"job_id"`
		Before
	}
	if err := q.SelectContext(ctx, &rows, beforeSQL, ids, afters, maxBeforeBytes, maxBeforeBytesAll, MaxBefore); err != nil {
		return nil, fmt.Errorf("read what %d jobs waited for: %w", len(ids), err)
	}
	for _, r := range rows {
		found[r.JobID] = append(found[r.JobID], r.Before)
	}
	return found, nil
}

// before completes what a kind sees of a claimed job.
func (r *Runner) before(ctx context.Context, c *queue.Claimed, job *Job) error {
	if c.AfterJobs == nil {
		return nil
	}
	found, err := BeforeOf(ctx, r.db, []queue.Claimed{*c})
	job.Before = found[c.ID]
	return err
}

// waitsFor shows what a job waits for, or did.
func (d *Detailed) waitsFor(ids []uuid.UUID, anyEnd bool) {
	if len(ids) == 0 {
		return
	}
	if d.After, d.AfterOutcome = ids, AfterSuccess; anyEnd {
		d.AfterOutcome = AfterAny
	}
}

// idsOf reads ids that the database wrote.
func idsOf(texts pq.StringArray) []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(texts))
	for _, text := range texts {
		if id, err := uuid.Parse(text); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
