package schedules

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// row is a schedule as the table has it.
type row struct {
	ID         uuid.UUID  `db:"id"`
	Tenant     string     `db:"tenant"`
	Name       string     `db:"name"`
	Spec       string     `db:"spec"`
	Action     string     `db:"action"`
	Paused     bool       `db:"paused"`
	Anchor     time.Time  `db:"anchor"`
	NextAt     *time.Time `db:"next_at"`
	Queued     int        `db:"queued"`
	RunJobs    string     `db:"run_jobs"`
	Fires      int64      `db:"fires"`
	Missed     int64      `db:"missed"`
	LastFireAt *time.Time `db:"last_fire_at"`
	CreatedAt  time.Time  `db:"created_at"`
	UpdatedAt  time.Time  `db:"updated_at"`
	Now        time.Time  `db:"now"` // of the database, when the row was read

	spec   spec
	action ScheduleAction
}

const columns = `s.id, s.tenant, s.name, s.spec, s.action, s.paused, s.anchor, s.next_at, s.queued, s.run_jobs::text AS run_jobs, s.fires, s.missed,
    s.last_fire_at, s.created_at, s.updated_at, now() AS now`

// read decodes what the row has as JSON.
func (r *row) read() error {
	if err := json.Unmarshal([]byte(r.Spec), &r.spec); err != nil {
		return fmt.Errorf("read schedule %s: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(r.Action), &r.action); err != nil {
		return fmt.Errorf("read the action of schedule %s: %w", r.ID, err)
	}
	return nil
}

// timing compiles a stored spec.
func (r *row) timing() (*timing, error) {
	t, wrong := r.spec.compile(r.Anchor)
	if len(wrong) > 0 {
		return nil, fmt.Errorf("schedule %s cannot be read: %s %s", r.ID, wrong[0].Pointer, wrong[0].Detail)
	}
	return t, nil
}

// lastRun are the jobs of the last run.
func (r *row) lastRun() []uuid.UUID {
	var ids []uuid.UUID
	for _, text := range strings.Split(strings.Trim(r.RunJobs, "{}"), ",") {
		if id, err := uuid.Parse(text); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// arrayText is ids as PostgreSQL reads an array.
func arrayText(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// show makes the schedule of a row that was read.
func (r *row) show() Schedule {
	s := Schedule{
		ID: r.ID, Tenant: r.Tenant, Name: r.Name, Timing: r.spec.Timing, Rest: r.spec.Rest, Action: r.action, State: "active",
		NextFireAt: pg.UTC(r.NextAt), LastFireAt: pg.UTC(r.LastFireAt), Fires: r.Fires, Missed: r.Missed, Queued: r.Queued,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	switch {
	case r.Paused:
		s.State = "paused"
	case r.NextAt == nil:
		s.State = "ended"
	}
	return s
}

// text gives JSON as the table keeps it and answers show it, with the < and > of placeholders as they
// were written.
func text(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("write schedule: %w", err)
	}
	return strings.TrimSpace(b.String()), nil
}

// dueAt is when to look at the row. What is queued goes on while the clock is paused.
func (r *row) dueAt(t *timing) *time.Time {
	var due *time.Time
	if r.NextAt != nil {
		at := t.due(r.ID, *r.NextAt)
		due = &at
	}
	if look := r.Now.Add(queueLook); r.Queued > 0 && (due == nil || look.Before(*due)) {
		due = &look
	}
	return due
}

func (r *row) oneOff() bool { return r.spec.At != "" }

// taken makes the fault of a name that another schedule has.
func (r *row) taken(err error) error {
	if pg.IsUnique(err, "schedules_name") {
		f := fault.New(fault.Conflict, "name_taken", "There is another schedule %q of this tenant; change it with PATCH /schedules/{id}, or take another name.", r.Name)
		f.Details = []fault.Detail{{Pointer: "/name", Detail: "is taken"}}
		return f
	}
	return err
}

// insert stores a schedule and wakes those who fire.
func insert(ctx context.Context, q pg.Querier, r *row, t *timing) error {
	due := r.dueAt(t)
	err := q.GetContext(ctx, r, `
		INSERT INTO signalstack.schedules AS s (id, tenant, name, spec, action, one_off, paused, anchor, next_at, due_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now(), now())
		RETURNING `+columns, r.ID, r.Tenant, r.Name, r.Spec, r.Action, r.oneOff(), r.Paused, r.Anchor, r.NextAt, due)
	if err != nil {
		return r.taken(fmt.Errorf("insert schedule: %w", err))
	}
	return wake(ctx, q, due)
}

// update stores a schedule that is locked, and wakes those who fire.
func update(ctx context.Context, q pg.Querier, r *row, t *timing) error {
	due := r.dueAt(t)
	err := q.GetContext(ctx, r, `
		UPDATE signalstack.schedules AS s
		SET name = $2, spec = $3, action = $4, one_off = $5, paused = $6, anchor = $7, next_at = $8, due_at = $9, updated_at = now()
		WHERE s.id = $1
		RETURNING `+columns, r.ID, r.Name, r.Spec, r.Action, r.oneOff(), r.Paused, r.Anchor, r.NextAt, due)
	if err != nil {
		return r.taken(fmt.Errorf("update schedule: %w", err))
	}
	return wake(ctx, q, due)
}

// channel is where it is told when a schedule is due that was made or changed.
const channel = "signalstack_schedules"

// wake tells those who fire of a time, in microseconds. It is a hint: they look by
// themselves every few seconds.
func wake(ctx context.Context, q pg.Querier, due *time.Time) error {
	if due == nil {
		return nil
	}
	if _, err := q.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, strconv.FormatInt(due.UnixMicro(), 10)); err != nil {
		return fmt.Errorf("tell of a schedule: %w", err)
	}
	return nil
}

// get gives a schedule; lock keeps others from changing or firing it until the
// transaction ends.
func get(ctx context.Context, q pg.Querier, id uuid.UUID, lock bool) (*row, error) {
	query := `SELECT ` + columns + ` FROM signalstack.schedules AS s WHERE s.id = $1`
	if lock {
		query += ` FOR UPDATE`
	}
	r := &row{}
	err := q.GetContext(ctx, r, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.Missing("schedule", id.String())
	}
	if err != nil {
		return nil, fmt.Errorf("get schedule: %w", err)
	}
	return r, r.read()
}

func remove(ctx context.Context, q pg.Querier, id uuid.UUID) error {
	res, err := q.ExecContext(ctx, `DELETE FROM signalstack.schedules WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("delete schedule: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fault.Missing("schedule", id.String()))
	}
	return nil
}

// list gives up to limit schedules, oldest first, after the given id.
func list(ctx context.Context, q pg.Querier, tenant, name, after string, limit int) ([]Schedule, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.schedules AS s
		WHERE ($1 = '' OR s.tenant = $1) AND ($2 = '' OR s.name = $2) AND s.id > coalesce(nullif($3, '')::uuid, '00000000-0000-0000-0000-000000000000')
		ORDER BY s.id
		LIMIT $4`, tenant, name, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	all := make([]Schedule, len(rows))
	for i := range rows {
		if err := rows[i].read(); err != nil {
			return nil, err
		}
		all[i] = rows[i].show()
	}
	return all, nil
}

// history gives up to limit fires, the newest first, before a time.
func history(ctx context.Context, q pg.Querier, id uuid.UUID, before string, limit int) ([]ScheduleFire, error) {
	fires := []ScheduleFire{}
	err := q.SelectContext(ctx, &fires, `
		SELECT fire_at, manual, state, due_at, made_at, job_id, event_id, detail FROM signalstack.schedule_fires
		WHERE schedule_id = $1 AND fire_at < coalesce(nullif($2, ''), 'infinity')::timestamptz
		ORDER BY fire_at DESC, manual DESC
		LIMIT $3`, id, before, limit)
	if err != nil {
		return nil, fmt.Errorf("read fires: %w", err)
	}
	for i := range fires {
		f := &fires[i]
		f.FireAt, f.DueAt, f.MadeAt = f.FireAt.UTC(), f.DueAt.UTC(), f.MadeAt.UTC()
		f.LatenessM = float64(f.MadeAt.Sub(f.DueAt).Microseconds()) / 1000
	}
	return fires, nil
}

func misfires(ctx context.Context, q pg.Querier, id uuid.UUID, limit int) ([]Misfires, error) {
	all := []Misfires{}
	err := q.SelectContext(ctx, &all, `
		SELECT noticed_at, first_at, last_at, missed, exact, made, policy FROM signalstack.schedule_misfires
		WHERE schedule_id = $1 ORDER BY noticed_at DESC LIMIT $2`, id, limit)
	if err != nil {
		return nil, fmt.Errorf("read misfires: %w", err)
	}
	for i := range all {
		m := &all[i]
		m.NoticedAt, m.From, m.To = m.NoticedAt.UTC(), m.From.UTC(), m.To.UTC()
	}
	return all, nil
}
