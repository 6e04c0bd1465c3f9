package rules

import (
	"context"
	"net/http"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// API serves the rules.
type API struct {
	DB    *pg.DB
	Kinds *jobs.Registry
}

// Routes lists the operations on rules.
func (a *API) Routes(api *httpapi.API) {
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-rule", Method: http.MethodPost, Path: "/rules", DefaultStatus: http.StatusCreated, Tags: []string{"rules"},
		Summary: "Create a rule", Description: "It holds for every event accepted after the answer, in every process.",
	}, httpapi.OneLoose[NewRule](), a.create)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-rules", Method: http.MethodGet, Path: "/rules", Tags: []string{"rules"}, Summary: "List rules, oldest first",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-rule", Method: http.MethodGet, Path: "/rules/{id}", Tags: []string{"rules"}, Summary: "Get a rule",
	}, a.get)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "update-rule", Method: http.MethodPatch, Path: "/rules/{id}", Tags: []string{"rules"},
		Summary: "Change some fields of a rule", Description: "Fields that are absent stay as they are.",
	}, httpapi.OneLoose[RulePatch](), a.update)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "delete-rule", Method: http.MethodDelete, Path: "/rules/{id}", DefaultStatus: http.StatusNoContent, Tags: []string{"rules"},
		Summary: "Delete a rule", Description: "Jobs that it made go on.",
	}, a.remove)
}

type ruleOut struct{ Body Rule }

type byID struct {
	ID string `path:"id" format:"uuid" doc:"The rule's id"`
}

func (a *API) create(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[NewRule]) (*ruleOut, error) {
	n := given.Value
	tenant := n.Tenant
	if tenant == "" {
		tenant = httpapi.Tenant(ctx)
	}
	mistakes, err := a.check(ctx, a.DB, tenant, n.Actions)
	if err != nil {
		return nil, err
	}
	given.Add(mistakes...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	rule, err := insert(ctx, a.DB, n, tenant)
	if err != nil {
		return nil, err
	}
	return &ruleOut{Body: rule}, nil
}

// check gives the mistakes of actions whose kind, payload or endpoint is wrong.
// What cannot be a tenant has no endpoints, and the database is not asked.
func (a *API) check(ctx context.Context, q pg.Querier, tenant string, actions []Action) ([]fault.Detail, error) {
	var named []uuid.UUID
	for _, action := range actions {
		if id, err := uuid.Parse(action.EndpointID); err == nil {
			named = append(named, id)
		}
	}
	var known map[uuid.UUID]bool
	if len(httpapi.CheckName("", tenant)) == 0 {
		var err error
		if known, err = webhooks.Known(ctx, q, tenant, named); err != nil {
			return nil, err
		}
	}
	return checkActions(a.Kinds, actions, known), nil
}

type listIn struct {
	Tenant string `query:"tenant"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Rule], error) {
	l := httpapi.List{Path: "/rules", Filters: map[string]string{"tenant": in.Tenant}}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := list(ctx, a.DB, in.Tenant, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(r Rule) string { return r.ID.String() }), nil
}

func (a *API) get(ctx context.Context, in *byID) (*ruleOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	rule, err := get(ctx, a.DB, id, false)
	if err != nil {
		return nil, err
	}
	return &ruleOut{Body: rule}, nil
}

type updateIn struct {
	httpapi.JSONBody
	ID string `path:"id" format:"uuid" doc:"The rule's id"`
}

func (a *API) update(ctx context.Context, in *updateIn, given httpapi.Item[RulePatch]) (*ruleOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	out := &ruleOut{}
	err = pg.InTx(ctx, a.DB, func(tx *sqlx.Tx) error {
		rule, err := get(ctx, tx, id, true)
		if err != nil {
			return err
		}
		mistakes, err := a.check(ctx, tx, rule.Tenant, given.Value.Actions)
		if err != nil {
			return err
		}
		given.Add(mistakes...)
		if err := given.Err(); err != nil {
			return err
		}
		given.Value.apply(&rule)
		out.Body, err = update(ctx, tx, rule)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (p RulePatch) apply(r *Rule) {
	if p.Name != nil {
		r.Name = *p.Name
	}
	if p.Pattern != nil {
		r.Pattern = p.Pattern
	}
	if p.Actions != nil {
		r.Actions = p.Actions
	}
	if p.Enabled != nil {
		r.Enabled = *p.Enabled
	}
}

func (a *API) remove(ctx context.Context, in *byID) (*struct{}, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, remove(ctx, a.DB, id)
}
