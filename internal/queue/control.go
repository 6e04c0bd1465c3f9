package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
)

// AnyQueue is the queue of controls that hold for a lane in every queue.
const AnyQueue = ""

// Control is what has been set of a queue, of one lane in it, or of one lane in every
// queue.
type Control struct {
	Queue      string     `db:"queue"` // AnyQueue: of a lane, wherever its jobs are
	Lane       string     `db:"lane"`  // "" is the whole queue
	Paused     bool       `db:"paused"`
	Weight     int        `db:"weight"`      // of a lane: its share of the turns
	MaxRunning *int       `db:"max_running"` // in all processes together
	Rate       *int       `db:"rate"`        // claims per period
	PeriodMS   *int64     `db:"period_ms"`
	Burst      *int       `db:"burst"` // claims that may come at once
	TAT        *time.Time `db:"tat"`
	// ClosedUntil is until when nothing of a lane is claimed; from then on one job at a
	// time is. nil: the lane is open.
	ClosedUntil *time.Time `db:"closed_until"`
}

const controlColumns = `queue, lane, paused, weight, max_running, rate, period_ms, burst, tat, closed_until`

// limits says whether claims must be counted.
func (c Control) limits() bool { return c.MaxRunning != nil || c.Rate != nil || c.ClosedUntil != nil }

// closed says whether nothing of the lane may be claimed at a time.
func (c Control) closed(now time.Time) bool { return c.ClosedUntil != nil && c.ClosedUntil.After(now) }

// rate gives the state of the rate limit, if there is one.
func (c Control) rate() (rate, bool) {
	if c.Rate == nil || c.PeriodMS == nil || c.Burst == nil {
		return rate{}, false
	}
	r := rate{emission: time.Duration(*c.PeriodMS) * time.Millisecond / time.Duration(*c.Rate), burst: *c.Burst}
	if c.TAT != nil {
		r.tat = *c.TAT
	}
	return r, true
}

// Controls gives all controls: by queue, and in each by lane.
func Controls(ctx context.Context, q pg.Querier) (map[string]map[string]Control, error) {
	var rows []Control
	if err := q.SelectContext(ctx, &rows, `SELECT `+controlColumns+` FROM signalstack.controls`); err != nil {
		return nil, fmt.Errorf("read controls: %w", err)
	}
	all := map[string]map[string]Control{}
	for _, c := range rows {
		if all[c.Queue] == nil {
			all[c.Queue] = map[string]Control{}
		}
		all[c.Queue][c.Lane] = c
	}
	return all, nil
}

// GetControl gives one control; its zero value when nothing was set.
func GetControl(ctx context.Context, q pg.Querier, queue, lane string) (Control, error) {
	var c Control
	err := q.GetContext(ctx, &c, `SELECT `+controlColumns+` FROM signalstack.controls WHERE queue = $1 AND lane = $2`, queue, lane)
	if errors.Is(err, sql.ErrNoRows) {
		return Control{Queue: queue, Lane: lane, Weight: 1}, nil // a scan of no row fills in pointers
	}
	if err != nil {
		return Control{}, fmt.Errorf("get control: %w", err)
	}
	return c, nil
}

// SetControl stores a control and tells the workers. A control without any setting
// is removed. Jobs that run already are counted by a new limit from now on.
func SetControl(ctx context.Context, db *pg.DB, c Control) error {
	return pg.InTx(ctx, db, func(tx *sqlx.Tx) error { return PutControl(ctx, tx, c) })
}

// PutControl is SetControl in the caller's transaction. Whether the lane is closed
// stays as it is.
func PutControl(ctx context.Context, q pg.Querier, c Control) error {
	_, err := q.ExecContext(ctx, `
		INSERT INTO signalstack.controls AS c (queue, lane, paused, weight, max_running, rate, period_ms, burst, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())
		ON CONFLICT (queue, lane) DO UPDATE
		SET paused = excluded.paused, weight = excluded.weight, max_running = excluded.max_running, rate = excluded.rate,
		    period_ms = excluded.period_ms, burst = excluded.burst, updated_at = excluded.updated_at,
		    tat = CASE WHEN (c.rate, c.period_ms) IS NOT DISTINCT FROM (excluded.rate, excluded.period_ms) THEN c.tat END`,
		c.Queue, c.Lane, c.Paused, c.Weight, c.MaxRunning, c.Rate, c.PeriodMS, c.Burst)
	if err != nil {
		return fmt.Errorf("set control: %w", err)
	}
	if c.limits() {
		if err := countLimited(ctx, q, c.Queue, c.Lane); err != nil {
			return err
		}
	}
	return controlChanged(ctx, q, c.Queue, c.Lane)
}

// countLimited makes limits count what runs already.
func countLimited(ctx context.Context, q pg.Querier, queue, lane string) error {
	_, err := q.ExecContext(ctx, `
		UPDATE signalstack.running SET limited = true
		WHERE ($1 = '' OR queue = $1) AND ($2 = '' OR lane = $2) AND NOT limited`, queue, lane)
	if err != nil {
		return fmt.Errorf("count running jobs: %w", err)
	}
	return nil
}

// controlChanged removes a control that says nothing any more, and tells the workers.
func controlChanged(ctx context.Context, q pg.Querier, queue, lane string) error {
	_, err := q.ExecContext(ctx, `
		DELETE FROM signalstack.controls
		WHERE queue = $1 AND lane = $2 AND NOT paused AND weight = 1 AND max_running IS NULL AND rate IS NULL AND closed_until IS NULL`, queue, lane)
	if err != nil {
		return fmt.Errorf("remove control: %w", err)
	}
	if _, err := q.ExecContext(ctx, `SELECT pg_notify($1, $2)`, Channel, NoticeControl); err != nil {
		return fmt.Errorf("notify of a control: %w", err)
	}
	return nil
}
