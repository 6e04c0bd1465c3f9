package tenants

import (
	"context"
	"net/http"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// API serves the settings of tenants.
type API struct{ DB *pg.DB }

// Routes lists the operations on tenants.
func (a *API) Routes(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-tenants", Method: http.MethodGet, Path: "/tenants", Tags: []string{"tenants"},
		Summary: "List the tenants that have settings, by name",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-tenant", Method: http.MethodGet, Path: "/tenants/{tenant}", Tags: []string{"tenants"}, Summary: "Get the settings of a tenant",
		Description: "A tenant needs no making: one of which nothing is set has none of the fields.",
	}, a.get)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "set-tenant", Method: http.MethodPut, Path: "/tenants/{tenant}", Tags: []string{"tenants"},
		Summary: "Set the name and the largest event of a tenant", Description: "Replaces what was set: a field that is absent is set no more.",
	}, httpapi.One[Setting](), a.set)
}

type tenantOut struct{ Body Tenant }

// ByTenant names a tenant in the path.
type ByTenant struct {
	Tenant string `path:"tenant" doc:"The tenant"`
}

func (b ByTenant) check() error {
	if mistakes := httpapi.CheckName("/path/tenant", b.Tenant); len(mistakes) > 0 {
		return fault.InvalidParameters(mistakes)
	}
	return nil
}

type listIn struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Tenant], error) {
	l := httpapi.List{Path: "/tenants"}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := list(ctx, a.DB, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(t Tenant) string { return t.Tenant }), nil
}

func (a *API) get(ctx context.Context, in *ByTenant) (*tenantOut, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	t, err := get(ctx, a.DB, in.Tenant)
	if err != nil {
		return nil, err
	}
	return &tenantOut{Body: t}, nil
}

type setIn struct {
	httpapi.JSONBody
	ByTenant
}

func (a *API) set(ctx context.Context, in *setIn, s Setting) (*tenantOut, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	t, err := set(ctx, a.DB, in.Tenant, s)
	if err != nil {
		return nil, err
	}
	return &tenantOut{Body: t}, nil
}
