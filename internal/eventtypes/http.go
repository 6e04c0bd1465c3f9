package eventtypes

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// API serves the registry.
type API struct{ DB *pg.DB }

// Routes lists the operations on event types.
func (a *API) Routes(api *httpapi.API) {
	tags := []string{"event types"}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-event-type", Method: http.MethodPost, Path: "/event-types", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Register an event type", Description: "It holds for every event accepted after the answer, in every process.",
	}, httpapi.One[NewEventType](), a.create)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-event-types", Method: http.MethodGet, Path: "/event-types", Tags: tags,
		Summary: "List event types by name", Description: "Those that are registered, and those of which an event came in the last 30 days.",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-event-type", Method: http.MethodGet, Path: "/event-types/{type}", Tags: tags, Summary: "Get a registered event type with its schemas",
	}, a.get)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "add-event-type-version", Method: http.MethodPost, Path: "/event-types/{type}/versions", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Add a schema to an event type", Description: "Events are checked by the newest one, unless the type names another.",
	}, httpapi.One[NewSchemaVersion](), a.addVersion)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "update-event-type", Method: http.MethodPatch, Path: "/event-types/{type}", Tags: tags,
		Summary: "Change some fields of an event type", Description: "Fields that are absent stay as they are.",
	}, httpapi.OneLoose[EventTypePatch](), a.update)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "delete-event-type", Method: http.MethodDelete, Path: "/event-types/{type}", DefaultStatus: http.StatusNoContent, Tags: tags,
		Summary: "Forget what is registered of an event type", Description: "Its events stay, and are kept for as long as those of any type.",
	}, a.remove)
}

type typeOut struct{ Body EventType }

// ByType names a type in the path. A slash in it is written %2F, and the router
// leaves a path that has one as it is.
type ByType struct {
	Type   string `path:"type" doc:"The type, percent-encoded: / as %2F"`
	Tenant string `query:"tenant" doc:"Whose type it is; default: the caller's"`
}

// Resolve decodes the name; huma calls it before the handler, for an embedded ByType
// more than once.
func (b *ByType) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	const place = 2 // "", "event-types", the name
	if parts := strings.Split(u.EscapedPath(), "/"); len(parts) > place {
		if name, err := url.PathUnescape(parts[place]); err == nil {
			b.Type = name
		}
	}
	return nil
}

// names gives the tenant and the type, which must be such as can be stored.
func (b *ByType) names(ctx context.Context) (tenant, eventType string, err error) {
	if b.Tenant == "" {
		b.Tenant = httpapi.Tenant(ctx)
	}
	mistakes := httpapi.CheckText("/path/type", b.Type, 255)
	if len(mistakes) > 0 {
		return "", "", fault.InvalidParameters(mistakes)
	}
	return b.Tenant, b.Type, nil
}

func (a *API) create(ctx context.Context, _ *struct{ httpapi.JSONBody }, n NewEventType) (*typeOut, error) {
	tenant := n.Tenant
	if tenant == "" {
		tenant = httpapi.Tenant(ctx)
	}
	return a.change(ctx, tenant, n.Type, func(tx *sqlx.Tx) error { return insert(ctx, tx, n, tenant) })
}

// change makes a change in a transaction and shows the type as it is then.
func (a *API) change(ctx context.Context, tenant, eventType string, f func(*sqlx.Tx) error) (*typeOut, error) {
	out := &typeOut{}
	err := pg.InTx(ctx, a.DB, func(tx *sqlx.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		var err error
		out.Body, err = get(ctx, tx, tenant, eventType)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

type listIn struct {
	Tenant     string `query:"tenant"`
	Registered string `query:"registered" enum:"true,false" doc:"true: only those that are registered; false: only those that are not"`
	Limit      int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor     string `query:"cursor" doc:"next_cursor of the page before, with the same filters"`
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[ListedType], error) {
	l := httpapi.List{Path: "/event-types", Filters: map[string]string{"tenant": in.Tenant, "registered": in.Registered}}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	var only *bool
	if in.Registered != "" {
		only = new(in.Registered == "true")
	}
	rows, err := list(ctx, a.DB, in.Tenant, only, keyOf(after), in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(t ListedType) string { return key{t.Type, t.Tenant}.text() }), nil
}

func (a *API) get(ctx context.Context, in *ByType) (*typeOut, error) {
	tenant, eventType, err := in.names(ctx)
	if err != nil {
		return nil, err
	}
	t, err := get(ctx, a.DB, tenant, eventType)
	if err != nil {
		return nil, err
	}
	return &typeOut{Body: t}, nil
}

type changeIn struct {
	httpapi.JSONBody
	ByType
}

// maxVersions bounds the schemas of a type.
const maxVersions = 1000

func (a *API) addVersion(ctx context.Context, in *changeIn, n NewSchemaVersion) (*typeOut, error) {
	tenant, eventType, err := in.names(ctx)
	if err != nil {
		return nil, err
	}
	return a.change(ctx, tenant, eventType, func(tx *sqlx.Tx) error {
		r, err := find(ctx, tx, tenant, eventType, true)
		if err != nil {
			return err
		}
		if r.Newest >= maxVersions {
			return fault.New(fault.Conflict, "too_many_versions", "The event type has %d schemas already, which is the most; register it anew.", maxVersions)
		}
		return insertVersion(ctx, tx, tenant, eventType, r.Newest+1, n)
	})
}

func (a *API) update(ctx context.Context, in *changeIn, given httpapi.Item[EventTypePatch]) (*typeOut, error) {
	tenant, eventType, err := in.names(ctx)
	if err != nil {
		return nil, err
	}
	return a.change(ctx, tenant, eventType, func(tx *sqlx.Tx) error {
		r, err := find(ctx, tx, tenant, eventType, true)
		if err != nil {
			return err
		}
		if e := given.Value.Enforced; e != nil && *e > r.Newest {
			given.Add(mistake("/enforced", "must be a version of the type, 1 to %d, or 0 for the newest", r.Newest)...)
		}
		if err := given.Err(); err != nil {
			return err
		}
		given.Value.apply(&r)
		return update(ctx, tx, r)
	})
}

func (p EventTypePatch) apply(r *row) {
	if p.Description != nil {
		r.Description = *p.Description
	}
	if p.Mode != nil {
		r.Mode = Mode(*p.Mode)
	}
	if p.Enforced != nil {
		if r.Enforced = p.Enforced; *p.Enforced == 0 {
			r.Enforced = nil
		}
	}
	if p.Retention != nil {
		r.RetentionMS, _ = parseRetention(*p.Retention) // checked
	}
}

func (a *API) remove(ctx context.Context, in *ByType) (*struct{}, error) {
	tenant, eventType, err := in.names(ctx)
	if err != nil {
		return nil, err
	}
	return nil, remove(ctx, a.DB, tenant, eventType)
}
