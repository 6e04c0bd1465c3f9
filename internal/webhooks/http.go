package webhooks

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/sealed"
)

// Endpoints serves the endpoints and reads them for deliveries.
type Endpoints struct {
	DB    *pg.DB
	Box   *sealed.Box
	Guard *outbound.Guard
	// Client sends test webhooks; those of jobs have the client of the kind.
	Client *outbound.Client
	Log    *slog.Logger
	// DisableAfter is how long an endpoint may fail without a success before it is
	// disabled; 0: for ever.
	DisableAfter time.Duration
}

// Routes lists the operations on endpoints.
func (e *Endpoints) Routes(api *httpapi.API) {
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-endpoint", Method: http.MethodPost, Path: "/endpoints", DefaultStatus: http.StatusCreated, Tags: []string{"endpoints"},
		Summary:     "Create an endpoint",
		Description: "The answer has the secret, this once. A subscription holds for every event accepted after the answer.",
	}, httpapi.OneLoose[NewEndpoint](), e.create)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-endpoints", Method: http.MethodGet, Path: "/endpoints", Tags: []string{"endpoints"}, Summary: "List endpoints, oldest first",
	}, e.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-endpoint", Method: http.MethodGet, Path: "/endpoints/{id}", Tags: []string{"endpoints"}, Summary: "Get an endpoint",
	}, e.get)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "update-endpoint", Method: http.MethodPatch, Path: "/endpoints/{id}", Tags: []string{"endpoints"},
		Summary: "Change some fields of an endpoint", Description: "Fields that are absent stay as they are. The change holds from the next attempt on, and that of event_types, pattern and transform for every event accepted after the answer.",
	}, httpapi.OneLoose[EndpointPatch](), e.update)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "rotate-endpoint-secret", Method: http.MethodPost, Path: "/endpoints/{id}/secret/rotate", DefaultStatus: http.StatusOK, Tags: []string{"endpoints"},
		Summary: "Replace the secret of an endpoint", Description: "For the time of the overlap both secrets sign, so that the receiver can change over. The answer has the new secret, this once.",
	}, httpapi.OptionalLoose[rotation](), e.rotate)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "enable-endpoint", Method: http.MethodPost, Path: "/endpoints/{id}/enable", DefaultStatus: http.StatusOK, Tags: []string{"endpoints"},
		Summary: "Enable an endpoint", Description: "What was known of its failures is forgotten, and what waits for it goes on at once.",
	}, e.enable)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "delete-endpoint", Method: http.MethodDelete, Path: "/endpoints/{id}", DefaultStatus: http.StatusNoContent, Tags: []string{"endpoints"},
		Summary: "Delete an endpoint", Description: "Jobs that wait for it fail at their next attempt.",
	}, e.remove)
	e.testRoute(api)
}

type endpointOut struct{ Body Endpoint }

type byID struct {
	ID string `path:"id" format:"uuid" doc:"The endpoint's id"`
}

func (e *Endpoints) create(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[NewEndpoint]) (*endpointOut, error) {
	n := given.Value
	given.Add(e.Guard.Check("/url", n.URL)...)
	given.Add(n.Auth.check(n.Headers, e.Guard)...)
	given.Add(n.TLS.check()...)
	given.Add(checkBatch(n.Delivery, n.Format)...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	t := target{
		Endpoint: Endpoint{
			ID: uuid.Must(uuid.NewV7()), Tenant: n.Tenant, URL: n.URL, Description: n.Description,
			Delivery: n.Delivery, EventTypes: typesBeside(n.Pattern, n.EventTypes), Pattern: n.Pattern, Transform: n.Transform, Format: cmp.Or(n.Format, formatStandard), Enabled: n.Enabled == nil || *n.Enabled,
		},
		secret: n.Secret, headers: n.Headers, credentials: credentials{Auth: n.Auth, TLS: n.TLS},
	}
	if t.Tenant == "" {
		t.Tenant = httpapi.Tenant(ctx)
	}
	if t.secret == "" {
		t.secret = newSecret(n.Scheme)
	}
	if t.EventTypes == nil {
		t.EventTypes = []string{}
	}
	out := &endpointOut{}
	err := pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error {
		stored, err := insert(ctx, tx, e.Box, t)
		out.Body = stored.Endpoint
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Body.Secret = t.secret
	return out, nil
}

type rotation struct {
	Secret  string `json:"secret,omitempty" doc:"As in POST /endpoints; made when absent"`
	Scheme  string `json:"signature_scheme,omitempty" enum:"v1,v1a" doc:"As in POST /endpoints; default: as before"`
	Overlap string `json:"overlap,omitempty" doc:"How long the secret before signs as well, from 0s to 168h; default 24h" example:"24h"`
}

// Bounds of the time for which two secrets sign.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 7 * 24 * time.Hour
)

// Validate gives the mistakes that the schema does not know.
func (r rotation) Validate() []fault.Detail {
	return append(checkNewSecret(r.Secret, r.Scheme), checkDuration("/overlap", r.Overlap, 0, maxOverlap)...)
}

func (e *Endpoints) rotate(ctx context.Context, in *updateIn, given httpapi.Item[rotation]) (*endpointOut, error) {
	if err := given.Err(); err != nil {
		return nil, err
	}
	overlap, secret := defaultOverlap, given.Value.Secret
	if d, err := time.ParseDuration(given.Value.Overlap); err == nil {
		overlap = d
	}
	return e.change(ctx, in.ID, func(t *target) error {
		if secret == "" {
			secret = newSecret(cmp.Or(given.Value.Scheme, schemeOf(t.secret)))
		}
		err := t.rotate(secret, t.now, overlap)
		t.Secret = secret
		return err
	})
}

func (e *Endpoints) enable(ctx context.Context, in *byID) (*endpointOut, error) {
	return e.change(ctx, in.ID, func(t *target) error {
		t.enable(true)
		return nil
	})
}

type listIn struct {
	Tenant string `query:"tenant"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (e *Endpoints) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Endpoint], error) {
	l := httpapi.List{Path: "/endpoints", Filters: map[string]string{"tenant": in.Tenant}}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := list(ctx, e.DB, e.Box, in.Tenant, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(e Endpoint) string { return e.ID.String() }), nil
}

func (e *Endpoints) get(ctx context.Context, in *byID) (*endpointOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	t, err := get(ctx, e.DB, e.Box, id, false)
	if err != nil {
		return nil, err
	}
	return &endpointOut{Body: t.Endpoint}, nil
}

type updateIn struct {
	httpapi.JSONBody
	ID string `path:"id" format:"uuid" doc:"The endpoint's id"`
}

func (e *Endpoints) update(ctx context.Context, in *updateIn, given httpapi.Item[EndpointPatch]) (*endpointOut, error) {
	if url := given.Value.URL; url != nil {
		given.Add(e.Guard.Check("/url", *url)...)
	}
	return e.change(ctx, in.ID, func(t *target) error {
		given.Add(given.Value.apply(t)...)
		given.Add(t.credentials.Auth.check(t.headers, e.Guard)...)
		given.Add(t.credentials.TLS.check()...)
		given.Add(checkBatch(t.Delivery, t.Format)...)
		return given.Err()
	})
}

// change changes an endpoint under its lock. A secret that is set to be shown is in the
// answer.
func (e *Endpoints) change(ctx context.Context, text string, change func(*target) error) (*endpointOut, error) {
	id, err := httpapi.ParseID(text)
	if err != nil {
		return nil, err
	}
	out := &endpointOut{}
	err = pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error {
		t, err := get(ctx, tx, e.Box, id, true)
		if err != nil {
			return err
		}
		if err := change(&t); err != nil {
			return err
		}
		if t.anew {
			if err := forget(ctx, tx, t); err != nil {
				return err
			}
			t.Health = EndpointHealth{State: healthy}
		}
		stored, err := update(ctx, tx, e.Box, t)
		out.Body, out.Body.Secret = stored.Endpoint, t.Secret
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// enable lets webhooks go to the endpoint, as if it had never failed, or ends that.
func (t *target) enable(on bool) {
	t.Enabled, t.DisabledReason, t.DisabledAt, t.anew = on, "", nil, on
}

// apply changes an endpoint. Its mistakes are headers that have no value to keep.
func (p EndpointPatch) apply(t *target) []fault.Detail {
	if p.URL != nil {
		t.URL = *p.URL
	}
	if p.Description != nil {
		t.Description = *p.Description
	}
	if p.Secret != nil {
		t.secret, t.old = *p.Secret, nil
	}
	p.DeliveryPatch.apply(&t.Delivery)
	p.applyFilter(t)
	if p.Format != nil {
		t.Format = *p.Format
	}
	if p.Enabled != nil {
		t.enable(*p.Enabled)
	}
	mistakes := p.applyCredentials(&t.credentials)
	if p.Headers == nil {
		return mistakes
	}
	headers := make(map[string]string, len(p.Headers))
	for name, value := range p.Headers {
		present, had := t.headers[name]
		if value == hidden && !had {
			mistakes = append(mistakes, fault.Detail{Pointer: "/headers/" + name, Detail: "has no value to keep; give one"})
		}
		if value == hidden {
			value = present
		}
		headers[name] = value
	}
	t.headers = headers
	return mistakes
}

func (e *Endpoints) remove(ctx context.Context, in *byID) (*struct{}, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error { return remove(ctx, tx, id) })
}
