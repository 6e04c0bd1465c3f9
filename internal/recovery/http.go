package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// API serves operations on many jobs.
type API struct {
	DB     *pg.DB
	KeyTTL time.Duration // how long an idempotency key is kept
}

// Paths that have a dry run.
const (
	pathRetry   = "/jobs/retry"
	pathCancel  = "/jobs/cancel"
	pathRecover = "/endpoints/{id}/recover"
)

const inBackground = " Workers take the jobs in the order of their creation, each once; GET /operations/{id} tells how far they are. " +
	"With dry_run the jobs are only counted, for a few seconds at most, and the answer is 200."

// Routes lists the operations.
func (a *API) Routes(api *httpapi.API) {
	shown := bulk.Shown[Operation]{DB: a.DB, Kind: kindName, Noun: noun, Path: "/operations", Show: show}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "retry-jobs", Method: http.MethodPost, Path: pathRetry, DefaultStatus: http.StatusAccepted, Tags: []string{"recovery"},
		Summary:     "Take up all jobs of a filter again, in the background",
		Description: "Each keeps its id and has all its attempts before it, as by POST /jobs/{id}/retry. Jobs that end after the request are not taken." + inBackground,
	}, httpapi.OneLoose[NewRetry](), a.retry)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "cancel-jobs", Method: http.MethodPost, Path: pathCancel, DefaultStatus: http.StatusAccepted, Tags: []string{"recovery"},
		Summary:     "Cancel all jobs of a filter, in the background",
		Description: "Those that wait are canceled; of those that run the worker is asked. Jobs that are created after the request are not taken." + inBackground,
	}, httpapi.OneLoose[NewCancel](), a.cancelJobs)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "recover-endpoint", Method: http.MethodPost, Path: pathRecover, DefaultStatus: http.StatusAccepted, Tags: []string{"recovery"},
		Summary: "Send an endpoint all webhooks that it missed since a time, in the background",
		Description: "Takes up the webhooks again that were created since then and failed for good. Those that still wait for it go on by themselves. " +
			"An endpoint that is disabled is 409: enable it first." + inBackground,
	}, httpapi.OneLoose[NewRecovery](), a.recoverEndpoint)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-operations", Method: http.MethodGet, Path: "/operations", Tags: []string{"recovery"},
		Summary: "List operations on jobs, newest first", Description: "Those that ended are kept for 30 days.",
	}, shown.List)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-operation", Method: http.MethodGet, Path: "/operations/{id}", Tags: []string{"recovery"}, Summary: "Get an operation with its progress",
	}, shown.Get)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "cancel-operation", Method: http.MethodPost, Path: "/operations/{id}/cancel", Tags: []string{"recovery"},
		Summary: "Cancel an operation", Description: "No more jobs are taken up from the answer on; those that were go on. One that has ended is 409.",
	}, shown.Cancel)
	for _, path := range []string{pathRetry, pathCancel, pathRecover} {
		httpapi.AlsoAnswers[JobsDryRun](api, path, "200", "What it would do, for a dry run")
	}
}

// createOut answers with an operation, or with a JobsDryRun and status 200.
type createOut struct {
	Status   int
	Location string `header:"Location" doc:"Where the operation is; absent for a dry run"`
	Replayed string `header:"Idempotency-Replayed" doc:"true when this answer was given before"`
	Body     httpapi.Encoded[Operation]
}

// asked is an operation that somebody asks for.
type asked struct {
	spec
	Pace
	tenant, scope, key string
	raw                []byte
}

func (a *API) retry(ctx context.Context, in *intake.CreateIn, given httpapi.Item[NewRetry]) (*createOut, error) {
	key, err := keyOf(in, &given)
	if err != nil {
		return nil, err
	}
	n := given.Value
	return a.begin(ctx, asked{n.spec(), n.Pace, cmp.Or(n.Tenant, httpapi.Tenant(ctx)), pathRetry, key, given.Raw})
}

func (a *API) cancelJobs(ctx context.Context, in *intake.CreateIn, given httpapi.Item[NewCancel]) (*createOut, error) {
	key, err := keyOf(in, &given)
	if err != nil {
		return nil, err
	}
	n := given.Value
	return a.begin(ctx, asked{n.spec(), n.Pace, cmp.Or(n.Tenant, httpapi.Tenant(ctx)), pathCancel, key, given.Raw})
}

type recoverIn struct {
	intake.CreateIn
	ID string `path:"id" format:"uuid" doc:"The endpoint's id"`
}

func (a *API) recoverEndpoint(ctx context.Context, in *recoverIn, given httpapi.Item[NewRecovery]) (*createOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(&in.CreateIn, &given)
	if err != nil {
		return nil, err
	}
	endpoint, err := webhooks.Find(ctx, a.DB, id)
	if err != nil {
		return nil, err
	}
	n := given.Value
	if !endpoint.Enabled && !n.DryRun {
		return nil, fault.New(fault.Conflict, "endpoint_disabled",
			"The endpoint is disabled, so that each webhook would fail at once. Enable it with POST /endpoints/%s/enable, then send this again.", id)
	}
	return a.begin(ctx, asked{n.spec(id), n.Pace, endpoint.Tenant, "/endpoints/" + id.String() + "/recover", key, given.Raw})
}

// keyOf gives the idempotency key, or the fault of all that is wrong with a request.
func keyOf[T any](in *intake.CreateIn, given *httpapi.Item[T]) (string, error) {
	key, wrong := intake.KeyOf(in.IdempotencyKey, nil, false)
	given.Add(wrong...)
	return key, given.Err()
}

// begin counts, or makes an operation that workers take up.
func (a *API) begin(ctx context.Context, n asked) (*createOut, error) {
	if n.DryRun {
		d, err := dryRun(ctx, a.DB, n.spec, n.tenant)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(d)
		return &createOut{Status: http.StatusOK, Body: httpapi.Encoded[Operation]{JSON: body}}, err
	}
	text, err := json.Marshal(n.spec)
	if err != nil {
		return nil, fmt.Errorf("write what the operation was asked for: %w", err)
	}
	key := idempotency.Reservation{
		Key: idempotency.Key{Tenant: n.tenant, Scope: n.scope, Key: n.key}, Fingerprint: idempotency.Fingerprint(n.raw),
	}
	id := uuid.Must(uuid.NewV7())
	body, before, err := idempotency.Once(ctx, a.DB, key, a.KeyTTL, func(tx *sqlx.Tx) ([]byte, error) {
		op, err := bulk.Insert(ctx, tx, bulk.New{ID: id, Tenant: n.tenant, Kind: kindName, Spec: text, Rate: cmp.Or(n.Rate, defaultRate)})
		if err != nil {
			return nil, err
		}
		shown, err := show(op)
		if err != nil {
			return nil, err
		}
		return json.Marshal(shown)
	})
	if err != nil {
		return nil, err
	}
	out := &createOut{Status: http.StatusAccepted, Body: httpapi.Encoded[Operation]{JSON: body}}
	if before {
		out.Replayed = "true"
		var first struct{ ID uuid.UUID }
		if err := json.Unmarshal(body, &first); err != nil {
			return nil, fmt.Errorf("read the first answer: %w", err)
		}
		id = first.ID
	}
	out.Location = "/operations/" + id.String()
	return out, nil
}
