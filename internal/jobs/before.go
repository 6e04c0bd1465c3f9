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

// Bounds of what a job sees of those that it waited for: the results of so many of them,
// as long as they have so many bytes together. GET /jobs/{id} has the others.
const (
	MaxBefore      = 1000
	maxBeforeBytes = 1 << 20
)

// What after_outcome may be; nothing is AfterSuccess.
const (
	AfterSuccess = "success"
	AfterAny     = "any"
)

// BeforeOf gives the jobs that claimed ones waited for, each list in the order in which
// that was said, by the id of the job. Those that are not kept any more are left out.
func BeforeOf(ctx context.Context, q pg.Querier, claimed []queue.Claimed) (map[uuid.UUID][]Before, error) {
	found := map[uuid.UUID][]Before{}
	for i := range claimed {
		c := &claimed[i]
		if c.AfterJobs == nil {
			continue
		}
		all := []Before{} // not nil, as what says that it waited
		// By the primary key of attempts, one id after the other. What is beyond the bytes
		// is not sent.
		err := q.SelectContext(ctx, &all, `
			SELECT id, state, CASE WHEN sum(coalesce(octet_length(result), 0)) OVER (ORDER BY n) <= $3 THEN result END AS result
			FROM (
			    SELECT g.id, g.n, a.state, CASE WHEN a.state = 'succeeded' THEN a.result END AS result
			    FROM unnest($1::uuid[]) WITH ORDINALITY AS g (id, n)
			    CROSS JOIN LATERAL (SELECT state, result FROM signalstack.attempts WHERE job_id = g.id ORDER BY lease DESC LIMIT 1) AS a
			    WHERE g.n <= $2
			) AS b
			WHERE state <> 'retrying' ORDER BY n`, *c.AfterJobs, MaxBefore, maxBeforeBytes)
		if err != nil {
			return nil, fmt.Errorf("read what job %s waited for: %w", c.ID, err)
		}
		found[c.ID] = all
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
