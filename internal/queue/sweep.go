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
	return sweeping(ctx, s.Log, "carry out late cancels", s.pass)
}

// sweeping makes a pass every few seconds until ctx ends.
func sweeping(ctx context.Context, log *slog.Logger, task string, pass func(context.Context) error) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := pass(ctx); err != nil && ctx.Err() == nil && !pg.IsAway(err) {
			log.WarnContext(ctx, "upkeep failed", "task", task, "error", err)
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

// FlowSweeper looks for jobs that have ended without that being told to those who wait
// for them: that of a cancel or a crash which comes while somebody writes that he waits for
// it is not, as neither sees the other. Ends that workers tell of are (touchSQL).
type FlowSweeper struct {
	DB  *pg.DB
	Log *slog.Logger

	at   pair // where the last look ended
	rest int  // passes until it looks again, after one that found that nobody waits
}

// pair is a job that another waits for, and that one.
type pair struct {
	Before uuid.UUID `db:"before_id"`
	After  uuid.UUID `db:"after_id"`
}

// A pass looks at so many stretches of so many pairs, and the next one goes on after them.
const (
	sweepPairs     = 1000
	sweepStretches = 5
	// sweepRest is after how many passes it looks again when nobody waited.
	sweepRest = 6
)

// Run sweeps until ctx ends.
func (s *FlowSweeper) Run(ctx context.Context) error {
	return sweeping(ctx, s.Log, "find ends that were not told", s.pass)
}

func (s *FlowSweeper) pass(ctx context.Context) error {
	if s.rest > 0 {
		s.rest--
		return nil
	}
	for range sweepStretches {
		last, err := markMissed(ctx, s.DB, s.at)
		if err != nil {
			return err
		}
		if last == nil {
			if s.at == (pair{}) { // nobody waits, as mostly
				s.rest = sweepRest - 1
			}
			s.at = pair{}
			break
		}
		s.at = *last
	}
	return nil
}

// markMissedSQL marks what has ended of a stretch of what is waited for, in the order of
// the primary key, and gives its last pair.
var markMissedSQL = `
WITH stretch AS MATERIALIZED (
    SELECT before_id, after_id FROM signalstack.dependencies WHERE (before_id, after_id) > ($1::uuid, $2::uuid)
    ORDER BY before_id, after_id LIMIT $3
), marked AS (
    INSERT INTO signalstack.followed (job_id)
    SELECT b.before_id FROM (SELECT DISTINCT before_id FROM stretch) AS b
    LEFT JOIN LATERAL (` + Living("b.before_id") + `) AS living ON true
    WHERE living.yes IS NULL
)
SELECT before_id, after_id FROM stretch ORDER BY before_id DESC, after_id DESC LIMIT 1`

// markMissed looks at a stretch from a pair on, and gives the last; nil when there was
// none.
func markMissed(ctx context.Context, q pg.Querier, from pair) (*pair, error) {
	var last []pair
	if err := q.SelectContext(ctx, &last, markMissedSQL, from.Before, from.After, sweepPairs); err != nil {
		return nil, fmt.Errorf("look for ends that were not told: %w", err)
	}
	if len(last) == 0 {
		return nil, nil
	}
	return &last[0], nil
}
