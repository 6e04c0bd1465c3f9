package webhooks

import (
	"cmp"
	"context"
	"net/http"

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
		Summary: "Change some fields of an endpoint", Description: "Fields that are absent stay as they are. The change holds from the next attempt on.",
	}, httpapi.OneLoose[EndpointPatch](), e.update)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "delete-endpoint", Method: http.MethodDelete, Path: "/endpoints/{id}", DefaultStatus: http.StatusNoContent, Tags: []string{"endpoints"},
		Summary: "Delete an endpoint", Description: "Jobs that wait for it fail at their next attempt.",
	}, e.remove)
}

type endpointOut struct{ Body Endpoint }

type byID struct {
	ID string `path:"id" format:"uuid" doc:"The endpoint's id"`
}

func (e *Endpoints) create(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[NewEndpoint]) (*endpointOut, error) {
	n := given.Value
	given.Add(e.Guard.Check("/url", n.URL)...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	t := target{
		Endpoint: Endpoint{
			ID: uuid.Must(uuid.NewV7()), Tenant: n.Tenant, URL: n.URL, Description: n.Description,
			EventTypes: n.EventTypes, Format: cmp.Or(n.Format, formatStandard), Enabled: n.Enabled == nil || *n.Enabled,
		},
		secret: n.Secret, headers: n.Headers,
	}
	if t.Tenant == "" {
		t.Tenant = httpapi.Tenant(ctx)
	}
	if t.secret == "" {
		t.secret = newSecret()
	}
	if t.EventTypes == nil {
		t.EventTypes = []string{}
	}
	stored, err := insert(ctx, e.DB, e.Box, t)
	if err != nil {
		return nil, err
	}
	stored.Secret = t.secret
	return &endpointOut{Body: stored.Endpoint}, nil
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
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	if url := given.Value.URL; url != nil {
		given.Add(e.Guard.Check("/url", *url)...)
	}
	out := &endpointOut{}
	err = pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error {
		t, err := get(ctx, tx, e.Box, id, true)
		if err != nil {
			return err
		}
		given.Add(given.Value.apply(&t)...)
		if err := given.Err(); err != nil {
			return err
		}
		t, err = update(ctx, tx, e.Box, t)
		out.Body = t.Endpoint
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
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
		t.secret = *p.Secret
	}
	if p.EventTypes != nil {
		t.EventTypes = p.EventTypes
	}
	if p.Format != nil {
		t.Format = *p.Format
	}
	if p.Enabled != nil {
		t.Enabled = *p.Enabled
	}
	if p.Headers == nil {
		return nil
	}
	var mistakes []fault.Detail
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
	return nil, remove(ctx, e.DB, id)
}
