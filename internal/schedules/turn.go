package schedules

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// turn is what one transaction does about a schedule.
type turn struct {
	*row
	timing *timing
	going  bool // the last run has not ended
	fires  []*fire
	missed *Misfires
	cancel []uuid.UUID // jobs of the last run
	due    *time.Time  // when to look at it again
}

// takeUp adds fires by the overlap policy.
func (t *turn) takeUp(fires ...*fire) {
	for i, f := range fires {
		f.state = made
		switch {
		case !t.going && t.Queued == 0, t.timing.overlap == overlapAllow:
		case t.timing.overlap == overlapSkip:
			f.state, f.detail = skipped, "the last run was still going"
		case t.timing.overlap == overlapQueue && t.Queued < t.timing.maxQueued:
			f.state = queued
			t.Queued++
		case t.timing.overlap == overlapQueue:
			f.state, f.detail = skipped, fmt.Sprintf("%d fires wait already, which is max_queued", t.Queued)
		case t.timing.overlap == overlapCancel && i < len(fires)-1:
			f.state, f.detail = skipped, "the next fire came at once and would have canceled it"
		case t.timing.overlap == overlapCancel:
			t.cancel = t.lastRun()
		}
		if f.state == made {
			t.going = true
		}
		t.fires = append(t.fires, f)
	}
}

// fireOf makes a fire of the schedule.
func (t *turn) fireOf(at, due time.Time, manual bool) *fire {
	return &fire{of: t.row, at: at, due: due, manual: manual}
}

// fromQueue takes up the fire that has waited longest, when the last run has ended.
func (t *turn) fromQueue(ctx context.Context, tx *sqlx.Tx) error {
	if t.Queued == 0 || t.going {
		return nil
	}
	var waiting ScheduleFire
	// By the index of those that are queued.
	err := tx.GetContext(ctx, &waiting, `
		SELECT fire_at, due_at, manual FROM signalstack.schedule_fires
		WHERE schedule_id = $1 AND state = 'queued' ORDER BY due_at LIMIT 1`, t.ID)
	if errors.Is(err, sql.ErrNoRows) {
		t.Queued = 0 // they were too old to be kept
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for queued fires: %w", err)
	}
	f := t.fireOf(waiting.FireAt.UTC(), waiting.DueAt.UTC(), waiting.Manual)
	f.state = made
	t.fires, t.going = append(t.fires, f), true
	t.Queued--
	return nil
}

// byClock takes up what is due by the clock.
func (t *turn) byClock() {
	if t.NextAt == nil || t.timing.due(t.ID, *t.NextAt).After(t.Now) {
		return
	}
	p := t.timing.plan(t.ID, t.NextAt.UTC(), t.Now.UTC())
	fires := make([]*fire, len(p.fires))
	for i, at := range p.fires {
		fires[i] = t.fireOf(at, t.timing.due(t.ID, at), false)
	}
	t.takeUp(fires...)
	t.missed, t.NextAt = p.missed, p.next
}

// end looks at what was made of the fires and settles the row.
func (t *turn) end() (written int64) {
	var run []uuid.UUID
	for _, f := range t.fires {
		if f.state == made {
			t.Fires++
			written++
			run = f.jobs
			t.LastFireAt = &f.at
		}
	}
	if written > 0 {
		t.RunJobs = arrayText(run)
	}
	if t.missed != nil {
		t.Missed += t.missed.Count
	}
	t.due = t.dueAt(t.timing)
	return written
}

// going notes which last runs have not ended.
func going(ctx context.Context, tx *sqlx.Tx, turns []*turn) error {
	var ids []uuid.UUID
	for _, t := range turns {
		if t.timing.overlap != overlapAllow || t.Queued > 0 {
			ids = append(ids, t.lastRun()...)
		}
	}
	unfinished, err := queue.Unfinished(ctx, tx, ids)
	if err != nil {
		return err
	}
	for _, t := range turns {
		for _, id := range t.lastRun() {
			t.going = t.going || unfinished[id]
		}
	}
	return nil
}

// carryOut makes what the turns came to and stores them.
func (m *Maker) carryOut(ctx context.Context, tx *sqlx.Tx, turns []*turn) error {
	var fires []*fire
	for _, t := range turns {
		for _, id := range t.cancel {
			if err := queue.CancelIn(ctx, tx, id, "canceled by the next run of its schedule"); err != nil {
				return err
			}
		}
		fires = append(fires, t.fires...)
	}
	if err := m.make(ctx, tx, fires); err != nil {
		return err
	}
	if err := recordMissed(ctx, tx, turns); err != nil {
		return err
	}
	n := len(turns)
	number := func(of func(*turn) int64) pg.Array {
		return pg.Int8s(n, func(i int) int64 { return of(turns[i]) })
	}
	times := func(of func(*turn) *time.Time) pg.Array {
		return pg.NullTimes(n, func(i int) time.Time {
			if at := of(turns[i]); at != nil {
				return *at
			}
			return time.Time{}
		})
	}
	for _, t := range turns {
		t.end()
	}
	// By the primary key; the rows are locked.
	_, err := tx.ExecContext(ctx, `
		UPDATE signalstack.schedules AS s
		SET next_at = g.next_at, due_at = g.due_at, queued = g.queued, run_jobs = g.run_jobs::uuid[], fires = g.fires, missed = g.missed,
		    last_fire_at = g.last_fire_at, history = history + g.written,
		    updated_at = CASE WHEN one_off AND g.next_at IS NULL THEN now() ELSE updated_at END
		FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::timestamptz[], $9::bigint[])
		     AS g (id, next_at, due_at, queued, run_jobs, fires, missed, last_fire_at, written)
		WHERE s.id = g.id`,
		pg.UUIDs(n, func(i int) uuid.UUID { return turns[i].ID }),
		times(func(t *turn) *time.Time { return t.NextAt }), times(func(t *turn) *time.Time { return t.due }),
		number(func(t *turn) int64 { return int64(t.Queued) }), pg.Texts(n, func(i int) string { return turns[i].RunJobs }),
		number(func(t *turn) int64 { return t.Fires }), number(func(t *turn) int64 { return t.Missed }),
		times(func(t *turn) *time.Time { return t.LastFireAt }), number(func(t *turn) int64 { return int64(len(t.fires)) }))
	if err != nil {
		return fmt.Errorf("store %d schedules: %w", n, err)
	}
	return nil
}

// recordMissed writes which fires could not be in time.
func recordMissed(ctx context.Context, tx *sqlx.Tx, turns []*turn) error {
	for _, t := range turns {
		m := t.missed
		if m == nil {
			continue
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO signalstack.schedule_misfires (schedule_id, noticed_at, first_at, last_at, missed, exact, made, policy)
			VALUES ($1, now(), $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`, t.ID, m.From, m.To, m.Count, m.Exact, m.Made, m.Policy)
		if err != nil {
			return fmt.Errorf("write misfires: %w", err)
		}
	}
	return nil
}
