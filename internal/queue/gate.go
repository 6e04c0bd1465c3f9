package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// CloseLane keeps all workers from claiming jobs of a lane, in every queue, for d from
// now; what runs goes on. After that time one job at a time is claimed, which tells
// whether the lane may be opened or must be closed again. A lane that is closed for
// longer stays so.
func CloseLane(ctx context.Context, q pg.Querier, lane string, d time.Duration) error {
	_, err := q.ExecContext(ctx, `
		INSERT INTO signalstack.controls AS c (queue, lane, closed_until, updated_at)
		VALUES ($1, $2, now() + $3 * interval '1 microsecond', now())
		ON CONFLICT (queue, lane) DO UPDATE
		SET closed_until = greatest(c.closed_until, excluded.closed_until), updated_at = excluded.updated_at`, AnyQueue, lane, d.Microseconds())
	if err != nil {
		return fmt.Errorf("close lane: %w", err)
	}
	if err := countLimited(ctx, q, AnyQueue, lane); err != nil {
		return err
	}
	return controlChanged(ctx, q, AnyQueue, lane)
}

// OpenLane ends CloseLane. Workers that wait for the lane are told.
func OpenLane(ctx context.Context, q pg.Querier, lane string) error {
	_, err := q.ExecContext(ctx, `
		UPDATE signalstack.controls SET closed_until = NULL, updated_at = now() WHERE queue = $1 AND lane = $2`, AnyQueue, lane)
	if err != nil {
		return fmt.Errorf("open lane: %w", err)
	}
	return controlChanged(ctx, q, AnyQueue, lane)
}
