package schedules

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/pg"
)

// API serves the schedules.
type API struct {
	DB     *pg.DB
	Maker  *Maker
	KeyTTL time.Duration // how long an idempotency key is kept
}

// Routes lists the operations on schedules.
func (a *API) Routes(api *httpapi.API) {
	tags := []string{"schedules"}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-schedule", Method: http.MethodPost, Path: "/schedules", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Create a schedule", Description: "The answer comes when it is durable; from then on each of its fires happens once.",
	}, httpapi.OneLoose[NewSchedule](), a.create)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "preview-schedule", Method: http.MethodPost, Path: "/schedules/preview", DefaultStatus: http.StatusOK, Tags: tags,
		Summary: "Say when a schedule would fire", Description: "Nothing is stored. What is wrong is told by field, as for POST /schedules.",
	}, httpapi.OneLoose[SchedulePreview](), a.preview)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-schedules", Method: http.MethodGet, Path: "/schedules", Tags: tags, Summary: "List schedules, oldest first",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-schedule", Method: http.MethodGet, Path: "/schedules/{id}", Tags: tags,
		Summary: "Get a schedule with its next fires, its history and its misfires",
	}, a.get)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-schedule-fires", Method: http.MethodGet, Path: "/schedules/{id}/fires", Tags: tags,
		Summary: "List the fires of a schedule, newest first", Description: "They are kept as long as jobs are, and the newest 1,000 to 2,000 at most.",
	}, a.fires)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "update-schedule", Method: http.MethodPatch, Path: "/schedules/{id}", Tags: tags,
		Summary: "Change some fields of a schedule", Description: "Fields that are absent stay as they are. Who changes when it fires begins anew: what was before is no misfire.",
	}, httpapi.OneLoose[SchedulePatch](), a.update)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "delete-schedule", Method: http.MethodDelete, Path: "/schedules/{id}", DefaultStatus: http.StatusNoContent, Tags: tags,
		Summary: "Delete a schedule with its history", Description: "Its jobs and events stay and go on.",
	}, a.remove)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "pause-schedule", Method: http.MethodPost, Path: "/schedules/{id}/pause", Tags: tags,
		Summary: "Pause a schedule", Description: "Fires that its clock passes meanwhile are neither made up for nor misfires.",
	}, func(ctx context.Context, in *byID) (*scheduleOut, error) { return a.pause(ctx, in, true) })
	httpapi.Register(api, httpapi.Operation{
		OperationID: "resume-schedule", Method: http.MethodPost, Path: "/schedules/{id}/resume", Tags: tags,
		Summary: "Go on with a paused schedule", Description: "Its first fire is the next one by the clock.",
	}, func(ctx context.Context, in *byID) (*scheduleOut, error) { return a.pause(ctx, in, false) })
	httpapi.Register(api, httpapi.Operation{
		OperationID: "run-schedule", Method: http.MethodPost, Path: "/schedules/{id}/run", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Fire a schedule now",
		Description: "Also one that is paused or has ended; its own fires stay as they are. With the answer 201 the job or event is there. " +
			"While the last run is going, overlap decides: with skip, and with queue when max_queued wait, the answer is 409; with queue it is 202 and state queued.",
	}, a.runNow)
	httpapi.AlsoAnswers[ScheduleRun](api, "/schedules/{id}/run", "202", "It waits for the end of the last run")
}

type createIn struct {
	httpapi.JSONBody
	IdempotencyKey string `header:"Idempotency-Key" doc:"Makes the request safe to send again: the same key and body get the first answer; 409 while the first request is in flight, 422 for another body"`
}

// keyed answers with a T as its bytes, which a repeated request gets again.
type keyed[T any] struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true when this answer was given before"`
	Body     httpapi.Encoded[T]
}

func keyedOut[T any](status int, body []byte, before bool) *keyed[T] {
	out := &keyed[T]{Status: status, Body: httpapi.Encoded[T]{JSON: body}}
	if before {
		out.Replayed = "true"
	}
	return out
}

func (a *API) create(ctx context.Context, in *createIn, given httpapi.Item[NewSchedule]) (*keyed[Schedule], error) {
	key, wrong := intake.KeyOf(in.IdempotencyKey, nil, false)
	given.Add(wrong...)
	now, err := pg.Now(ctx, a.DB)
	if err != nil {
		return nil, err
	}
	r, t, mistakes, err := a.begin(ctx, given.Value, now)
	if err != nil {
		return nil, err
	}
	first := given.Err()
	given.Add(mistakes...)
	if err := given.Err(); err != nil && (key == "" || first != nil) {
		return nil, err
	}
	once := idempotency.Reservation{
		Key:         idempotency.Key{Tenant: r.Tenant, Scope: keyScope, Key: key},
		Fingerprint: idempotency.Fingerprint(given.Raw), Status: http.StatusCreated,
	}
	body, before, err := a.once(ctx, once, func(tx *sqlx.Tx) (any, error) {
		// A request that is sent again gets its answer also when the time is over by now.
		if err := given.Err(); err != nil {
			return nil, err
		}
		err := insert(ctx, tx, r, t)
		return r.show(), err
	})
	if err != nil {
		return nil, err
	}
	return keyedOut[Schedule](http.StatusCreated, body, before), nil
}

type byID struct {
	ID string `path:"id" format:"uuid" doc:"The schedule's id"`
}

type scheduleOut struct{ Body Schedule }

type listIn struct {
	Tenant string `query:"tenant"`
	Name   string `query:"name"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before, with the same filters"`
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Schedule], error) {
	l := httpapi.List{Path: "/schedules", Filters: map[string]string{"tenant": in.Tenant, "name": in.Name}}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := list(ctx, a.DB, in.Tenant, in.Name, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(s Schedule) string { return s.ID.String() }), nil
}

type detailedOut struct{ Body DetailedSchedule }

// How much a schedule is shown with.
const (
	shownNext     = 10
	shownFires    = 20
	shownMisfires = 10
)

func (a *API) get(ctx context.Context, in *byID) (*detailedOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	r, err := get(ctx, a.DB, id, false)
	if err != nil {
		return nil, err
	}
	t, err := r.timing()
	if err != nil {
		return nil, err
	}
	out := &detailedOut{Body: DetailedSchedule{Schedule: r.show(), NextFires: []FireTime{}}}
	if r.NextAt != nil {
		out.Body.NextFires = t.nextFires(r.NextAt.Add(-time.Microsecond), shownNext)
	}
	if out.Body.History, err = history(ctx, a.DB, id, "", shownFires); err != nil {
		return nil, err
	}
	out.Body.Misfires, err = misfires(ctx, a.DB, id, shownMisfires)
	return out, err
}

type firesIn struct {
	ID     string `path:"id" format:"uuid" doc:"The schedule's id"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (a *API) fires(ctx context.Context, in *firesIn) (*httpapi.PageOut[ScheduleFire], error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	l := httpapi.List{Path: "/schedules/" + id.String() + "/fires"}
	before, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	if _, err := get(ctx, a.DB, id, false); err != nil {
		return nil, err
	}
	rows, err := history(ctx, a.DB, id, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(f ScheduleFire) string { return f.FireAt.Format(time.RFC3339Nano) }), nil
}

type updateIn struct {
	httpapi.JSONBody
	ID string `path:"id" format:"uuid" doc:"The schedule's id"`
}

func (a *API) update(ctx context.Context, in *updateIn, given httpapi.Item[SchedulePatch]) (*scheduleOut, error) {
	return a.changed(ctx, &byID{ID: in.ID}, given)
}

func (a *API) pause(ctx context.Context, in *byID, paused bool) (*scheduleOut, error) {
	return a.changed(ctx, in, httpapi.Item[SchedulePatch]{Value: SchedulePatch{Paused: &paused}})
}

func (a *API) changed(ctx context.Context, in *byID, given httpapi.Item[SchedulePatch]) (*scheduleOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	out := &scheduleOut{}
	err = pg.InTx(ctx, a.DB, func(tx *sqlx.Tx) error {
		r, err := get(ctx, tx, id, true)
		if err != nil {
			return err
		}
		if err := a.change(ctx, tx, r, &given); err != nil {
			return err
		}
		out.Body = r.show()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (a *API) remove(ctx context.Context, in *byID) (*struct{}, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, remove(ctx, a.DB, id)
}

type runIn struct {
	ID             string `path:"id" format:"uuid" doc:"The schedule's id"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"Makes the request safe to send again: the same key gets the first answer"`
}

func (a *API) runNow(ctx context.Context, in *runIn) (*keyed[ScheduleRun], error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	key, wrong := intake.KeyOf(in.IdempotencyKey, nil, false)
	if len(wrong) > 0 {
		return nil, fault.InvalidParameters(wrong)
	}
	once := idempotency.Reservation{
		Key:         idempotency.Key{Tenant: httpapi.Tenant(ctx), Scope: keyScope + "/" + id.String(), Key: key},
		Fingerprint: idempotency.Fingerprint(nil), Status: http.StatusCreated,
	}
	body, before, err := a.once(ctx, once, func(tx *sqlx.Tx) (any, error) { return a.run(ctx, tx, id) })
	if err != nil {
		return nil, err
	}
	status := http.StatusCreated
	var run ScheduleRun
	if err := json.Unmarshal(body, &run); err == nil && run.State == queued {
		status = http.StatusAccepted
	}
	return keyedOut[ScheduleRun](status, body, before), nil
}

// SchedulePreview asks when a schedule would fire.
type SchedulePreview struct {
	Timing
	From  string `json:"from,omitempty" format:"date-time" doc:"The fires after this time; default: now"`
	Count *int   `json:"count,omitempty" minimum:"1" maximum:"100" doc:"How many; default 10"`
}

// Validate gives the mistakes that need no clock.
func (p SchedulePreview) Validate() []fault.Detail {
	_, mistakes := spec{Timing: p.Timing}.compile(time.Unix(0, 0))
	_, wrong := httpapi.ParseTime("/from", p.From)
	return append(mistakes, wrong...)
}

// SchedulePreviewed are the fires to come.
type SchedulePreviewed struct {
	Timezone  string     `json:"timezone"`
	NextFires []FireTime `json:"next_fires" nullable:"false"`
}

type previewOut struct{ Body SchedulePreviewed }

func (a *API) preview(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[SchedulePreview]) (*previewOut, error) {
	if err := given.Err(); err != nil {
		return nil, err
	}
	p := given.Value
	from, _ := httpapi.ParseTime("", p.From) // checked
	if p.From == "" {
		var err error
		if from, err = pg.Now(ctx, a.DB); err != nil {
			return nil, err
		}
	}
	t, _ := spec{Timing: p.Timing}.compile(from)
	if given.Add(t.checkFires(from)...); given.Err() != nil {
		return nil, given.Err()
	}
	count := shownNext
	if p.Count != nil {
		count = *p.Count
	}
	return &previewOut{Body: SchedulePreviewed{Timezone: cmp.Or(p.Timezone, "UTC"), NextFires: t.nextFires(from, count)}}, nil
}
