package bulk

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
)

// Sweeper deletes operations that ended long ago. What they made stays.
type Sweeper struct {
	DB   *pg.DB
	Log  *slog.Logger
	Keep time.Duration
}

const (
	sweepEvery = time.Hour
	sweepBatch = 5000 // bounds one DELETE, so that it blocks nobody for long
)

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "old bulk operations could not be deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep deletes what ended longer ago than it is kept.
func (s *Sweeper) Sweep(ctx context.Context) error {
	for {
		var gone []uuid.UUID
		err := s.DB.SelectContext(ctx, &gone, `
			DELETE FROM signalstack.bulk_operations
			WHERE ctid = ANY (ARRAY(
			    SELECT ctid FROM signalstack.bulk_operations
			    WHERE state <> 'running' AND finished_at < now() - $1 * interval '1 millisecond'
			    ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED))
			RETURNING id`, s.Keep.Milliseconds(), sweepBatch)
		if err != nil {
			return fmt.Errorf("sweep bulk operations: %w", err)
		}
		if len(gone) < sweepBatch {
			return nil
		}
	}
}
