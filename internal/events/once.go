package events

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/queue"
)

// onceScope keeps the idempotency keys of actions apart from those of events.
const onceScope = "actions"

// resolve drops of the jobs of fresh events those whose action has made one for their
// key before. The keys are taken in the transaction that writes the jobs, and before
// the events' own: every transaction takes them in this order, so that two cannot
// wait for each other in a circle. Without such keys it asks nothing of the database.
func resolve(ctx context.Context, tx *sqlx.Tx, fresh []*acceptance, ttl time.Duration) error {
	var wanted []idempotency.Reservation
	first := map[idempotency.Key]uuid.UUID{} // the job that has a key
	for _, x := range fresh {
		for _, j := range x.jobs {
			key := onceKey(j)
			if _, taken := first[key]; j.Once == "" || taken {
				continue
			}
			first[key] = j.ID
			wanted = append(wanted, idempotency.Reservation{Key: key, Fingerprint: idempotency.Fingerprint([]byte(j.Once)), Answer: []byte(j.ID.String())})
		}
	}
	got, err := idempotency.Reserve(ctx, tx, wanted, ttl)
	if err != nil || len(wanted) == 0 {
		return err
	}
	for _, x := range fresh {
		x.take(slices.DeleteFunc(slices.Clone(x.jobs), func(j queue.NewJob) bool {
			return j.Once != "" && (!got[onceKey(j)] || first[onceKey(j)] != j.ID)
		}))
	}
	return nil
}

func onceKey(j queue.NewJob) idempotency.Key {
	return idempotency.Key{Tenant: j.Tenant, Scope: onceScope, Key: j.Once}
}
