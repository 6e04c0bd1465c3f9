package replays

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
)

// Routes lists the operations on replays.
func (a *API) Routes(api *httpapi.API) {
	shown := bulk.Shown[Replay]{DB: a.DB, Kind: kindName, Noun: noun, Path: "/replays", Show: show}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "replay-event", Method: http.MethodPost, Path: "/events/{id}/replay", DefaultStatus: http.StatusCreated, Tags: []string{"replays"},
		Summary: "Route one event again", Description: "The answer comes when its new jobs are durable. With dry_run they are only counted, and the answer is 200.",
	}, httpapi.OptionalLoose[NewEventReplay](), a.replayEvent)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-replay", Method: http.MethodPost, Path: "/replays", DefaultStatus: http.StatusAccepted, Tags: []string{"replays"},
		Summary: "Route all events of a filter again, in the background",
		Description: "Workers take the events in the order of their creation. GET /replays/{id} tells how far they are. " +
			"With dry_run events and jobs are only counted, for a few seconds at most, and the answer is 200.",
	}, httpapi.OneLoose[NewReplay](), a.create)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-replays", Method: http.MethodGet, Path: "/replays", Tags: []string{"replays"},
		Summary: "List replays, newest first", Description: "Those that ended are kept for 30 days, their jobs as long as any.",
	}, shown.List)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-replay", Method: http.MethodGet, Path: "/replays/{id}", Tags: []string{"replays"}, Summary: "Get a replay with its progress",
	}, shown.Get)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "cancel-replay", Method: http.MethodPost, Path: "/replays/{id}/cancel", Tags: []string{"replays"},
		Summary: "Cancel a replay", Description: "No more jobs are made from the answer on; those that were made go on. One that has ended is 409.",
	}, shown.Cancel)
	for _, path := range []string{"/events/{id}/replay", "/replays"} {
		httpapi.AlsoAnswers[DryRun](api, path, "200", "What it would do, for a dry run")
	}
}

type eventIn struct {
	intake.CreateIn
	ID string `path:"id" format:"uuid" doc:"The event's id"`
}

// createOut answers with a T, or with a DryRun and status 200.
type createOut[T any] struct {
	Status   int
	Location string `header:"Location" doc:"Where the replay is; absent for a dry run"`
	Replayed string `header:"Idempotency-Replayed" doc:"true when this answer was given before"`
	Body     httpapi.Encoded[T]
}

func counted[T any](d DryRun) (*createOut[T], error) {
	body, err := json.Marshal(d)
	return &createOut[T]{Status: http.StatusOK, Body: httpapi.Encoded[T]{JSON: body}}, err
}

func created[T any](status int, made answered, err error) (*createOut[T], error) {
	if err != nil {
		return nil, err
	}
	out := &createOut[T]{Status: status, Location: "/replays/" + made.id.String(), Body: httpapi.Encoded[T]{JSON: made.body}}
	if made.before {
		out.Replayed = "true"
	}
	return out, nil
}

func (a *API) replayEvent(ctx context.Context, in *eventIn, given httpapi.Item[NewEventReplay]) (*createOut[EventReplay], error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	key, wrong := intake.KeyOf(in.IdempotencyKey, nil, false)
	given.Add(wrong...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	if given.Value.DryRun {
		d, err := a.countOne(ctx, id, given.Value.spec())
		if err != nil {
			return nil, err
		}
		return counted[EventReplay](d)
	}
	once := idempotency.Reservation{
		Key:         idempotency.Key{Tenant: httpapi.Tenant(ctx), Scope: keyScope + "/" + id.String(), Key: key},
		Fingerprint: idempotency.Fingerprint(given.Raw),
	}
	made, err := a.replayOne(ctx, id, given.Value.spec(), once)
	return created[EventReplay](http.StatusCreated, made, err)
}

func (a *API) create(ctx context.Context, in *intake.CreateIn, given httpapi.Item[NewReplay]) (*createOut[Replay], error) {
	n := given.Value
	key, wrong := intake.KeyOf(in.IdempotencyKey, nil, false)
	given.Add(wrong...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	tenant := cmp.Or(n.Tenant, httpapi.Tenant(ctx))
	mistakes, err := check(ctx, a.DB, tenant, n.spec())
	if err != nil {
		return nil, err
	}
	given.Add(mistakes...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	if n.DryRun {
		d, err := a.Replayer.dryRun(ctx, n.spec(), tenant)
		if err != nil {
			return nil, refused(err)
		}
		return counted[Replay](d)
	}
	once := idempotency.Reservation{
		Key:         idempotency.Key{Tenant: tenant, Scope: keyScope, Key: key},
		Fingerprint: idempotency.Fingerprint(given.Raw),
	}
	made, err := a.begin(ctx, n, tenant, once)
	return created[Replay](http.StatusAccepted, made, err)
}
