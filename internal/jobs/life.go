package jobs

import (
	"context"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// life is a job's time since it was made, or since it last ended and was taken up again:
// what its limits of age and of throttled attempts count from.
type life struct {
	lease int64 // of the last attempt before it
	since time.Time
}

// lifeTime bounds the look for it.
const lifeTime = 2 * time.Second

// lifeOf looks for the last time that a job ended before this attempt, along the primary
// key. It is asked for where a limit is about to end the job, which is rare, and where
// the database is away it is the whole life.
func lifeOf(ctx context.Context, q pg.Querier, c *queue.Claimed) life {
	whole := life{since: c.CreatedAt}
	if c.Lease <= int64(c.Attempt) {
		return whole // it was never taken up again
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lifeTime)
	defer cancel()
	var before struct {
		Lease int64     `db:"lease"`
		At    time.Time `db:"finished_at"`
	}
	err := q.GetContext(ctx, &before, `
		SELECT lease, finished_at FROM signalstack.attempts
		WHERE job_id = $1 AND lease < $2 AND state <> 'retrying' ORDER BY lease DESC LIMIT 1`, c.ID, c.Lease)
	if err != nil {
		return whole
	}
	return life{lease: before.Lease, since: before.At}
}
