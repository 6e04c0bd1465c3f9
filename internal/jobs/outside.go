package jobs

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/queue"
)

// Ended is an attempt that was made outside of a Runner, with how it ended.
type Ended struct {
	queue.Settlement
	Job *queue.Claimed
}

// Settle ends attempts that were made outside of a Runner in the caller's transaction,
// as a Runner does: it counts them and tells their kinds. The states are those of
// queue.Settle.
func (r *Registry) Settle(ctx context.Context, tx *sqlx.Tx, all []Ended) (map[queue.Held]queue.State, error) {
	batch, rows := make([]settlement, len(all)), make([]queue.Settlement, len(all))
	for i, e := range all {
		e.JobID, e.Lease, e.Tenant, e.OrderingKey, e.Skips = e.Job.ID, e.Job.Lease, e.Job.Tenant, e.Job.OrderingKey, e.Job.Skips
		batch[i], rows[i] = settlement{Settlement: e.Settlement, job: e.Job}, e.Settlement
	}
	states, err := queue.Settle(ctx, tx, rows)
	if err != nil {
		return nil, err
	}
	return states, r.account(ctx, tx, batch, states)
}

// NextAttempt gives the wait before the attempt that follows a claimed one, and false
// when none does.
func (r *Registry) NextAttempt(c *queue.Claimed) (time.Duration, bool) {
	kind := r.kinds[c.Kind]
	return policyOf(c, kind).Next(c.Attempt, rand.Float64()), c.Attempt < c.MaxAttempts
}

// JobOf gives what a kind sees of a claimed job.
func JobOf(c *queue.Claimed) Job { return jobOf(c) }

// CheckQueue gives the mistake of a queue that jobs of a kind cannot stand in.
func (r *Registry) CheckQueue(kind, name string) []fault.Detail {
	switch k, known := r.kinds[kind]; {
	case !known || name == "":
		return nil
	case k.External && len(queue.ExternalQueue(name)) > maxQueueName:
		return []fault.Detail{{Pointer: "/queue", Detail: "must have at most 54 characters: jobs of the kind external stand in external:NAME"}}
	case !k.External && queue.IsExternalQueue(name):
		return []fault.Detail{{Pointer: "/queue", Detail: "is for jobs of the kind external, which workers of other programs claim; choose another queue"}}
	}
	return nil
}

// maxQueueName is what httpapi.CheckName lets a name have.
const maxQueueName = 63

// External lists the kinds whose jobs are handed out.
func (r *Registry) External() []string {
	return slices.DeleteFunc(slices.Clone(r.names), func(name string) bool { return !r.kinds[name].External })
}
