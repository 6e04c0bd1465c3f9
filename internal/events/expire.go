package events

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Expirer deletes events of types whose own period is shorter than that of all
// events. Those that are kept longer, or no shorter, are the partitions' matter; see
// queue.Retention. An event goes when its period is over and its jobs have ended; of
// these, which stay for their own time, what they hold of the data goes with it.
type Expirer struct {
	DB      *pg.DB
	Log     *slog.Logger
	Default time.Duration // of all events; zero: for ever
}

const (
	expireEvery = 10 * time.Minute
	// expireBatch bounds one transaction.
	expireBatch = 200
)

// Run makes a pass at once and then every ten minutes until ctx ends.
func (x *Expirer) Run(ctx context.Context) error {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		if err := x.Pass(ctx); err != nil && ctx.Err() == nil {
			x.Log.WarnContext(ctx, "events whose type has a period of its own could not be deleted; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// shortType is a type whose events go before those of others.
type shortType struct {
	Tenant      string    `db:"tenant"`
	Type        string    `db:"type"`
	RetentionMS int64     `db:"retention_ms"`
	Before      time.Time `db:"before"` // what was received earlier may go
}

// Pass deletes what may go by the database's clock.
func (x *Expirer) Pass(ctx context.Context) error {
	var types []shortType
	err := x.DB.SelectContext(ctx, &types, `
		SELECT tenant, type, retention_ms, now() - retention_ms * interval '1 millisecond' AS before FROM signalstack.event_types
		WHERE retention_ms > 0 AND (retention_ms < $1 OR $1 = 0)`, x.Default.Milliseconds())
	if err != nil {
		return fmt.Errorf("look for periods of event types: %w", err)
	}
	for _, t := range types {
		removed := 0
		last := uuid.UUID{}
		for more := true; more; {
			var n int
			if n, last, more, err = x.batch(ctx, t, last); err != nil {
				return fmt.Errorf("delete events of type %s: %w", t.Type, err)
			}
			removed += n
		}
		if removed > 0 {
			x.Log.InfoContext(ctx, "old events removed", "tenant", t.Tenant, "type", t.Type, "removed", removed)
		}
	}
	return nil
}

// batch deletes some events after one and says which was the last that it looked at.
func (x *Expirer) batch(ctx context.Context, t shortType, after uuid.UUID) (removed int, last uuid.UUID, more bool, err error) {
	err = pg.InSteadyTx(ctx, x.DB, func(tx *sqlx.Tx) error {
		var ids []uuid.UUID
		// The index events_type, in its order; the bound on the id leaves out the
		// partitions that are too young, by a day for clocks that are wrong.
		err := tx.SelectContext(ctx, &ids, `
			SELECT id FROM signalstack.events
			WHERE type = $1 AND tenant = $2 AND id > $3 AND id < $4 AND received_at < $5
			ORDER BY id LIMIT $6 FOR UPDATE`, t.Type, t.Tenant, after, queue.FirstID(t.Before.Add(24*time.Hour)), t.Before, expireBatch)
		if err != nil || len(ids) == 0 {
			more = false
			return err
		}
		last, more = ids[len(ids)-1], len(ids) == expireBatch
		living, err := queue.Forget(ctx, tx, ids)
		if err != nil {
			return err
		}
		var gone []uuid.UUID
		for _, id := range ids {
			if !living[id] {
				gone = append(gone, id)
			}
		}
		removed = len(gone)
		_, err = tx.ExecContext(ctx, `DELETE FROM signalstack.events WHERE id = ANY ($1::uuid[])`, textsOf(gone))
		return err
	})
	return removed, last, more, err
}
