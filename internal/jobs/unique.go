package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/queue"
)

// Unique keeps a job from standing beside another of the same key.
type Unique struct {
	Key    string   `json:"key" minLength:"1" maxLength:"255" doc:"Jobs of one tenant with this key are one"`
	Mode   string   `json:"mode,omitempty" enum:"ignore,replace,extend" doc:"ignore (default): the job that stands is kept, and is the answer. replace: one that waits is canceled, and the new job has its time. extend: the same, but the new job has its own time, so each one puts the work off (debounce)"`
	States []string `json:"states,omitempty" nullable:"false" enum:"scheduled,pending,retrying,running,succeeded,failed,canceled" doc:"The states in which the earlier job counts; default: all that are not final"`
}

// The modes of Unique.
const (
	uniqueReplace = "replace"
	uniqueExtend  = "extend"
)

// uniqueScope keeps keys of unique jobs apart from idempotency keys.
const uniqueScope = "unique"

func (u *Unique) check() []fault.Detail {
	if u == nil {
		return nil
	}
	return httpapi.CheckText("/unique/key", u.Key, 255)
}

// counts says whether a job in a state holds the key.
func (u *Unique) counts(state queue.State) bool {
	if len(u.States) == 0 {
		return !state.Final()
	}
	return slices.Contains(u.States, string(state))
}

// resolveUnique settles for each new job with a unique key which job is to stand.
// The row of the key is locked until the transaction ends, so two requests cannot
// both find it free.
func resolveUnique(ctx context.Context, tx *sqlx.Tx, fresh []*creation) error {
	for _, c := range fresh {
		if c.unique == nil {
			continue
		}
		holder, err := lockUnique(ctx, tx, c)
		if err != nil {
			return err
		}
		if holder != c.job.ID {
			if err := c.meet(ctx, tx, holder); err != nil {
				return err
			}
		}
		if c.existing != nil {
			continue
		}
		if _, err := tx.ExecContext(ctx, `UPDATE signalstack.unique_jobs SET job_id = $3 WHERE tenant = $1 AND key = $2`,
			c.job.Tenant, c.unique.Key, c.job.ID); err != nil {
			return fmt.Errorf("hold unique key: %w", err)
		}
	}
	return nil
}

// lockUnique locks a key and gives the job that holds it: the new one when the key
// was never used.
func lockUnique(ctx context.Context, tx *sqlx.Tx, c *creation) (uuid.UUID, error) {
	var holder uuid.UUID
	err := tx.GetContext(ctx, &holder, `
		INSERT INTO signalstack.unique_jobs AS u (tenant, key, job_id) VALUES ($1, $2, $3)
		ON CONFLICT (tenant, key) DO UPDATE SET job_id = u.job_id
		RETURNING job_id`, c.job.Tenant, c.unique.Key, c.job.ID)
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("lock unique key: %w", err)
	}
	return holder, nil
}

// meet decides between a new job and the one that holds its key.
func (c *creation) meet(ctx context.Context, tx *sqlx.Tx, holder uuid.UUID) error {
	old, err := Get(ctx, tx, holder)
	if f := fault.As(err); f != nil && f.Kind == fault.NotFound {
		return nil // it is so old that it is gone
	}
	if err != nil || !c.unique.counts(old.State) {
		return err
	}
	if c.unique.Mode != uniqueReplace && c.unique.Mode != uniqueExtend {
		c.existing, err = json.Marshal(old)
		return err
	}
	canceled, err := queue.CancelWaiting(ctx, tx, holder)
	if err != nil || !canceled { // it runs: the new job comes after it, and nothing is swallowed
		return err
	}
	if c.unique.Mode == uniqueReplace && old.NextAttemptAt != nil {
		c.job.RunAt, c.job.Delay = *old.NextAttemptAt, time.Duration(0)
	}
	return nil
}
