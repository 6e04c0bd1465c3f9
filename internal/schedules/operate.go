package schedules

import (
	"cmp"
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// keyScope keeps the idempotency keys of schedules apart from others.
const keyScope = "schedules"

// tries bounds how often a request is tried that found no partition for its job.
const tries = 4

// once is idempotency.Once with an answer that is shown as JSON, and with a partition for
// what a schedule makes.
func (a *API) once(ctx context.Context, key idempotency.Reservation, do func(tx *sqlx.Tx) (any, error)) (body []byte, before bool, err error) {
	for range tries {
		body, before, err = idempotency.Once(ctx, a.DB, key, a.KeyTTL, func(tx *sqlx.Tx) ([]byte, error) {
			made, err := do(tx)
			if err != nil {
				return nil, err
			}
			shown, err := text(made)
			return []byte(shown), err
		})
		if !pg.IsNoPartition(err) {
			return body, before, err
		}
		if err := queue.EnsurePartitions(ctx, a.DB, time.Now()); err != nil {
			return nil, false, err
		}
	}
	return nil, false, err
}

// check gives the mistakes of an action that need the kinds or the database.
func (a *API) check(ctx context.Context, r *row, at time.Time) ([]fault.Detail, error) {
	wrong, endpoint := r.action.check(a.Maker.Kinds, r.ID, r.Name, at)
	if len(wrong) > 0 || !endpoint.Valid || len(httpapi.CheckName("", r.Tenant)) > 0 {
		return wrong, nil
	}
	known, err := webhooks.KnownInOrder(ctx, a.DB, r.Tenant, []uuid.UUID{endpoint.UUID})
	if err == nil && known[endpoint.UUID] == nil {
		wrong = []fault.Detail{{Pointer: "/action/job/payload/endpoint_id", Detail: "names no endpoint of this tenant; create it with POST /endpoints first"}}
	}
	return wrong, err
}

// begin makes the row of a new schedule, or gives what is wrong with it.
func (a *API) begin(ctx context.Context, n NewSchedule, now time.Time) (*row, *timing, []fault.Detail, error) {
	r := &row{
		ID: uuid.Must(uuid.NewV7()), Tenant: cmp.Or(n.Tenant, httpapi.Tenant(ctx)), Name: n.Name, Paused: n.Paused != nil && *n.Paused,
		Anchor: now, Now: now, spec: n.spec(), action: n.Action,
	}
	t, mistakes := r.spec.compile(now)
	if len(mistakes) == 0 {
		mistakes = t.checkFires(now)
	}
	wrong, err := a.check(ctx, r, now)
	if err != nil {
		return nil, nil, nil, err
	}
	return r, t, append(mistakes, wrong...), r.restart(t)
}

// restart begins with the first fire after the present: what was before, while the
// schedule was paused or another one, is no misfire.
func (r *row) restart(t *timing) error {
	r.NextAt = nil
	if at, ok := t.next(r.Now.UTC()); ok && !r.Paused {
		r.NextAt = &at
	}
	var err error
	if r.Spec, err = text(r.spec); err == nil {
		r.Action, err = text(r.action)
	}
	return err
}

// change applies a patch to a locked schedule.
func (a *API) change(ctx context.Context, tx *sqlx.Tx, r *row, given *httpapi.Item[SchedulePatch]) error {
	p := given.Value
	retimed := p.apply(&r.spec)
	if p.Name != nil {
		r.Name = *p.Name
	}
	if p.Action != nil {
		r.action = *p.Action
	}
	if p.Paused != nil && *p.Paused != r.Paused {
		r.Paused, retimed = *p.Paused, true
	}
	if p.Every != nil || p.Cron != nil {
		r.Anchor = r.Now
	}
	t, mistakes := r.spec.compile(r.Anchor)
	given.Add(mistakes...)
	given.Add(httpapi.CheckText("/name", r.Name, 200)...)
	if len(mistakes) == 0 && retimed && (p.Paused == nil || r.Paused) {
		given.Add(t.checkFires(r.Now.UTC())...)
	}
	if p.Action != nil {
		wrong, err := a.check(ctx, r, r.Now)
		if err != nil {
			return err
		}
		given.Add(wrong...)
	}
	if err := given.Err(); err != nil {
		return err
	}
	next := r.NextAt
	if err := r.restart(t); err != nil {
		return err
	}
	if !retimed {
		r.NextAt = next
	}
	return update(ctx, tx, r, t)
}

// ScheduleRun is what somebody who asked for a run is answered.
type ScheduleRun struct {
	State    string      `json:"state" enum:"made,queued" doc:"queued: it is made as soon as the run before has ended"`
	FireAt   time.Time   `json:"fire_at" doc:"Names the run in the schedule's history"`
	JobID    *uuid.UUID  `json:"job_id,omitempty" doc:"The job that it made"`
	EventID  *uuid.UUID  `json:"event_id,omitempty" doc:"The event that it emitted"`
	JobIDs   []uuid.UUID `json:"job_ids" nullable:"false" doc:"The job, or those that rules and subscriptions made of the event"`
	Canceled []uuid.UUID `json:"canceled,omitempty" doc:"Of overlap cancel: the jobs of the last run, which were asked to end"`
}

// run fires a schedule now, by its overlap policy.
func (a *API) run(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) (ScheduleRun, error) {
	r, err := get(ctx, tx, id, true)
	if err != nil {
		return ScheduleRun{}, err
	}
	t := &turn{row: r}
	if t.timing, err = r.timing(); err != nil {
		return ScheduleRun{}, err
	}
	if err := going(ctx, tx, []*turn{t}); err != nil {
		return ScheduleRun{}, err
	}
	f := t.fireOf(r.Now.UTC(), r.Now.UTC(), true)
	t.takeUp(f)
	if f.state == skipped {
		return ScheduleRun{}, fault.New(fault.Conflict, "run_in_progress", "Nothing was made: %s.", f.detail)
	}
	if err := a.Maker.carryOut(ctx, tx, []*turn{t}); err != nil {
		return ScheduleRun{}, err
	}
	out := ScheduleRun{State: f.state, FireAt: f.at, JobIDs: append([]uuid.UUID{}, f.jobs...), Canceled: t.cancel}
	switch f.state {
	case failed:
		return ScheduleRun{}, fault.New(fault.Conflict, "run_failed", "Nothing was made: %s.", f.detail)
	case "":
		return ScheduleRun{}, fault.New(fault.Conflict, "run_in_progress", "Nothing was made: another run was asked for in the same microsecond. Ask again.")
	case made:
		out.JobID, out.EventID = idOf(f.jobID), idOf(f.eventID)
	}
	return out, wake(ctx, tx, t.due)
}

func idOf(id uuid.NullUUID) *uuid.UUID {
	if !id.Valid {
		return nil
	}
	return &id.UUID
}
