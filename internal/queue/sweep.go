package queue

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// CancelSweeper carries out cancels that came as their job left its worker: the
// settle did not see them, and no worker will while the job waits.
type CancelSweeper struct {
	DB  *pg.DB
	Log *slog.Logger
}

// sweepEvery is the time between two looks.
const sweepEvery = 5 * time.Second

// Run sweeps until ctx ends.
func (s *CancelSweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.pass(ctx); err != nil && ctx.Err() == nil && !pg.IsAway(err) {
			s.Log.WarnContext(ctx, "late cancels could not be carried out", "error", err)
		}
	}
}

func (s *CancelSweeper) pass(ctx context.Context) error {
	var late []uuid.UUID
	err := s.DB.SelectContext(ctx, &late, `
		SELECT c.job_id FROM signalstack.cancels AS c
		WHERE NOT EXISTS (SELECT FROM signalstack.running AS r WHERE r.job_id = c.job_id) LIMIT 100`)
	if err != nil {
		return fmt.Errorf("look for late cancels: %w", err)
	}
	for _, id := range late {
		state, err := Cancel(ctx, s.DB, id)
		if f := fault.As(err); err != nil && (f == nil || f.Kind != fault.Conflict) {
			return err
		}
		if err == nil && state == Running {
			continue // its worker sees to it
		}
		if _, err := s.DB.ExecContext(ctx, `DELETE FROM signalstack.cancels WHERE job_id = $1`, id); err != nil {
			return fmt.Errorf("end late cancel: %w", err)
		}
	}
	return nil
}
