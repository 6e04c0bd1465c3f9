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

// Control is what an operator has set of a queue, or of one lane in it.
type Control struct {
	Queue      string     `db:"queue"`
	Lane       string     `db:"lane"` // "" is the whole queue
	Paused     bool       `db:"paused"`
	Weight     int        `db:"weight"`      // of a lane: its share of the turns
	MaxRunning *int       `db:"max_running"` // in all processes together
	Rate       *int       `db:"rate"`        // claims per period
	PeriodMS   *int64     `db:"period_ms"`
	Burst      *int       `db:"burst"` // claims that may come at once
	TAT        *time.Time `db:"tat"`
}

const controlColumns = `queue, lane, paused, weight, max_running, rate, period_ms, burst, tat`

// limits says whether claims must be counted.
func (c Control) limits() bool { return c.MaxRunning != nil || c.Rate != nil }

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
	return pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		var err error
		if !c.Paused && c.Weight == 1 && !c.limits() {
			_, err = tx.ExecContext(ctx, `DELETE FROM signalstack.controls WHERE queue = $1 AND lane = $2`, c.Queue, c.Lane)
		} else {
			_, err = tx.ExecContext(ctx, `
				INSERT INTO signalstack.controls AS c (queue, lane, paused, weight, max_running, rate, period_ms, burst, updated_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())
				ON CONFLICT (queue, lane) DO UPDATE
				SET paused = excluded.paused, weight = excluded.weight, max_running = excluded.max_running, rate = excluded.rate,
				    period_ms = excluded.period_ms, burst = excluded.burst, updated_at = excluded.updated_at,
				    tat = CASE WHEN (c.rate, c.period_ms) IS NOT DISTINCT FROM (excluded.rate, excluded.period_ms) THEN c.tat END`,
				c.Queue, c.Lane, c.Paused, c.Weight, c.MaxRunning, c.Rate, c.PeriodMS, c.Burst)
		}
		if err != nil {
			return fmt.Errorf("set control: %w", err)
		}
		if c.limits() {
			if _, err := tx.ExecContext(ctx, `
				UPDATE signalstack.running SET limited = true WHERE queue = $1 AND ($2 = '' OR lane = $2) AND NOT limited`, c.Queue, c.Lane); err != nil {
				return fmt.Errorf("count running jobs: %w", err)
			}
		}
		_, err = tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, Channel, NoticeControl)
		return err
	})
}
