package schedules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// Sweeper removes history that is too old or too much. One worker at a time does it.
type Sweeper struct {
	DB   *pg.DB
	Log  *slog.Logger
	Keep time.Duration // zero: for ever
}

const (
	sweepEvery = 10 * time.Minute
	// sweepBatch bounds one DELETE, so that it blocks nobody for long.
	sweepBatch = 5000
	// keptFires are kept of each schedule, when it is cut.
	keptFires = 1000
)

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Pass(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "old fires could not be removed; trying again in ten minutes", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass removes what may go by the database's clock.
func (s *Sweeper) Pass(ctx context.Context) error {
	var problems []error
	if s.Keep > 0 {
		for _, statement := range []string{
			// By the indexes of these times. What is queued still has its turn.
			`DELETE FROM signalstack.schedule_fires WHERE ctid = ANY (ARRAY(SELECT ctid FROM signalstack.schedule_fires
				WHERE made_at < now() - $1 * interval '1 millisecond' AND state <> 'queued' LIMIT $2))`,
			`DELETE FROM signalstack.schedule_misfires WHERE ctid = ANY (ARRAY(SELECT ctid FROM signalstack.schedule_misfires
				WHERE noticed_at < now() - $1 * interval '1 millisecond' LIMIT $2))`,
			`DELETE FROM signalstack.schedules WHERE id = ANY (ARRAY(SELECT id FROM signalstack.schedules
				WHERE one_off AND next_at IS NULL AND NOT paused AND updated_at < now() - $1 * interval '1 millisecond' AND queued = 0 LIMIT $2))`,
		} {
			problems = append(problems, s.all(ctx, statement, s.Keep.Milliseconds(), sweepBatch))
		}
	}
	return errors.Join(append(problems, s.cut(ctx))...)
}

// all runs a DELETE until nothing is left for it.
func (s *Sweeper) all(ctx context.Context, statement string, args ...any) error {
	for {
		res, err := s.DB.ExecContext(ctx, statement, args...)
		if err != nil {
			return fmt.Errorf("remove old fires: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n < sweepBatch {
			return err
		}
	}
}

// cut shortens the history of schedules that fire often, one after the other.
func (s *Sweeper) cut(ctx context.Context) error {
	for {
		var ids []string
		// By the index schedules_history.
		if err := s.DB.SelectContext(ctx, &ids, `SELECT id::text FROM signalstack.schedules WHERE history > 2000 ORDER BY id LIMIT 100`); err != nil {
			return fmt.Errorf("look for long histories: %w", err)
		}
		for _, id := range ids {
			_, err := s.DB.ExecContext(ctx, `
				WITH gone AS (
				    DELETE FROM signalstack.schedule_fires
				    WHERE schedule_id = $1 AND state <> 'queued' AND fire_at < (
				        SELECT fire_at FROM signalstack.schedule_fires WHERE schedule_id = $1 ORDER BY fire_at DESC OFFSET $2 - 1 LIMIT 1)
				)
				UPDATE signalstack.schedules SET history = $2 WHERE id = $1`, id, keptFires)
			if err != nil {
				return fmt.Errorf("cut a history: %w", err)
			}
		}
		if len(ids) == 0 {
			return nil
		}
	}
}
