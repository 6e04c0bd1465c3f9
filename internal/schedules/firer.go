package schedules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Firer fires schedules. Every worker has one: of the rows that are due each takes
// some and passes over those that another one holds, so that none waits for a leader.
type Firer struct {
	DB *pg.DB
	// Listen is where to hear of schedules when the pool goes through a pooler, which
	// loses notifications; nil: the pool.
	Listen *pg.DB
	Maker  *Maker
	Log    *slog.Logger

	next  atomic.Int64 // microseconds of the time up to which it sleeps; 0 when nothing is due
	batch int
}

const (
	// firePoll is the longest time between two looks, for what was not told.
	firePoll = 5 * time.Second
	// fireBatch bounds what one transaction fires. Of 1,000 that are due at once, 500 take
	// a third less time than 250, and half of them need not wait for the others.
	fireBatch = 500
	// heldLook is when to look again at rows that are due and held by another one.
	heldLook = 50 * time.Millisecond
	// queueLook is how often it is looked whether a run has ended that a fire waits for.
	queueLook = time.Second
	// stuck ends a transaction of a process that does not go on with it, so that
	// another can.
	stuck = "5s"
	// unreadable is when to look again at a schedule that this process cannot read: a
	// newer one may.
	unreadable = time.Minute
)

// Run fires until ctx ends.
func (f *Firer) Run(ctx context.Context) error {
	f.batch = fireBatch
	woken := make(chan struct{}, 1)
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() {
		err := pg.Listen(ctx, cmp.Or(f.Listen, f.DB), channel, func(payload string) {
			// What is due later than the next look need not wake anybody.
			at, err := strconv.ParseInt(payload, 10, 64)
			if next := f.next.Load(); err == nil && next != 0 && at >= next {
				return
			}
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		if err != nil {
			f.Log.WarnContext(ctx, "not listening for schedules; polling only", "error", err)
		}
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-timer.C:
		}
		wait, err := f.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failures++; failures == 1 {
				f.Log.WarnContext(ctx, "schedules could not be fired; trying again until they can", "error", err)
			}
			wait = time.Second
		default:
			failures = 0
		}
		timer.Reset(wait)
	}
}

// turn fires what is due and gives the time until something may be again.
func (f *Firer) turn(ctx context.Context) (time.Duration, error) {
	for {
		wait, err := f.look(ctx)
		if err != nil || wait > 0 {
			return wait, err
		}
		n, err := f.pass(ctx)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return heldLook, nil
		}
	}
}

// look gives the time until the next row is due, by the database's clock.
func (f *Firer) look(ctx context.Context) (time.Duration, error) {
	var row struct {
		Now  time.Time
		Next *time.Time
	}
	// The first entry of the index schedules_due, however many come after it.
	err := f.DB.GetContext(ctx, &row, `
		SELECT clock_timestamp() AS now, (SELECT due_at FROM signalstack.schedules WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1) AS next`)
	if err != nil {
		return 0, fmt.Errorf("look for due schedules: %w", err)
	}
	wait := firePoll
	f.next.Store(0)
	if row.Next != nil {
		wait = min(wait, row.Next.Sub(row.Now))
		f.next.Store(row.Next.UnixMicro())
	}
	return wait, nil
}

// errPanicked is what a schedule comes to that the code does not survive.
var errPanicked = errors.New("the schedule could not be fired")

// pass fires one batch and gives how many schedules it saw to. A batch that fails for
// what is in it is tried with half its rows, down to the one that spoils it, whose
// fires are noted as failed.
func (f *Firer) pass(ctx context.Context) (int, error) {
	for {
		n, err := f.fire(ctx, f.batch, nil)
		switch {
		case err == nil:
			f.batch = min(2*f.batch, fireBatch)
			return n, nil
		case pg.IsNoPartition(err):
			if err := queue.EnsurePartitions(ctx, f.DB, time.Now()); err != nil {
				return 0, err
			}
		case !pg.IsBadData(err) && !errors.Is(err, errPanicked):
			return 0, err
		case n > 1:
			f.batch = max(1, n/2)
		default:
			f.Log.ErrorContext(ctx, "a schedule cannot be fired; its fire is noted as failed", "error", err)
			return f.fire(ctx, 1, err)
		}
	}
}

// fire sees to up to limit due schedules in one transaction. It gives their number
// also when nothing came of it. With a reason their fires fail for it.
func (f *Firer) fire(ctx context.Context, limit int, why error) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", errPanicked, p)
		}
	}()
	err = pg.InSteadyTx(ctx, f.DB, func(tx *sqlx.Tx) error {
		rows, err := take(ctx, tx, limit)
		if n = len(rows); err != nil || n == 0 {
			return err
		}
		turns, err := f.turns(ctx, tx, rows)
		if err != nil {
			return err
		}
		for _, t := range turns {
			if err := t.fromQueue(ctx, tx); err != nil {
				return err
			}
			t.byClock()
			for _, fire := range t.fires {
				if why != nil && fire.state == made {
					fire.fail(why)
				}
			}
		}
		return f.Maker.carryOut(ctx, tx, turns)
	})
	return n, err
}

// take locks schedules that are due, those that are longest first, along the index
// schedules_due. What another one holds it passes over; what another one has just
// fired is not due any more when its row is read again.
func take(ctx context.Context, tx *sqlx.Tx, limit int) ([]*row, error) {
	var rows []*struct {
		row
		Bound string `db:"bound"`
	}
	err := tx.SelectContext(ctx, &rows, `
		SELECT `+columns+`, set_config('idle_in_transaction_session_timeout', $2, true) AS bound
		FROM signalstack.schedules AS s
		WHERE s.due_at <= now()
		ORDER BY s.due_at LIMIT $1
		FOR UPDATE SKIP LOCKED`, limit, stuck)
	if err != nil {
		return nil, fmt.Errorf("take due schedules: %w", err)
	}
	all := make([]*row, len(rows))
	for i, r := range rows {
		all[i] = &r.row
	}
	return all, nil
}

// turns reads the schedules. One that cannot be read is put off, and holds up no other.
func (f *Firer) turns(ctx context.Context, tx *sqlx.Tx, rows []*row) ([]*turn, error) {
	var turns []*turn
	for _, r := range rows {
		err := r.read()
		var t *timing
		if err == nil {
			t, err = r.timing()
		}
		if err == nil {
			turns = append(turns, &turn{row: r, timing: t})
			continue
		}
		f.Log.ErrorContext(ctx, "a schedule cannot be read; it is put off", "schedule_id", r.ID, "error", err)
		_, err = tx.ExecContext(ctx, `UPDATE signalstack.schedules SET due_at = now() + $2 * interval '1 millisecond' WHERE id = $1`, r.ID, unreadable.Milliseconds())
		if err != nil {
			return nil, fmt.Errorf("put a schedule off: %w", err)
		}
	}
	return turns, going(ctx, tx, turns)
}
