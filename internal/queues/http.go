package queues

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// API serves the queues to operators.
type API struct{ DB *pg.DB }

// Routes lists the operations on queues.
func (a *API) Routes(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-queues", Method: http.MethodGet, Path: "/queues", Tags: []string{"queues"},
		Summary: "List queues with their depth", Description: "Queues that have unfinished jobs or settings, by name.",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-queue", Method: http.MethodGet, Path: "/queues/{name}", Tags: []string{"queues"}, Summary: "Get a queue with its depth",
	}, a.get)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "update-queue", Method: http.MethodPatch, Path: "/queues/{name}", Tags: []string{"queues"},
		Summary: "Pause, resume or limit a queue", Description: "Fields that are absent stay as they are. Jobs that run go on.",
	}, httpapi.One[QueuePatch](), a.update)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-limits", Method: http.MethodGet, Path: "/limits", Tags: []string{"queues"}, Summary: "List the limits and weights of lanes",
	}, a.limits)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "set-limit", Method: http.MethodPut, Path: "/limits", Tags: []string{"queues"},
		Summary:     "Limit or weigh the jobs of a tenant, endpoint or limit key in a queue",
		Description: "Replaces what was set of that lane; a body without max_running, rate and weight removes it.",
	}, httpapi.One[Limit](), a.setLimit)
}

type queueOut struct{ Body Queue }

type byName struct {
	Name string `path:"name" doc:"The queue's name"`
}

func (a *API) list(ctx context.Context, _ *struct{}) (*httpapi.PageOut[Queue], error) {
	rows, err := list(ctx, a.DB)
	if err != nil {
		return nil, err
	}
	return &httpapi.PageOut[Queue]{Body: httpapi.Page[Queue]{Data: rows}}, nil
}

func (a *API) get(ctx context.Context, in *byName) (*queueOut, error) {
	if mistakes := httpapi.CheckName("/path/name", in.Name); len(mistakes) > 0 {
		return nil, fault.InvalidBody(mistakes)
	}
	rows, err := list(ctx, a.DB)
	if err != nil {
		return nil, err
	}
	for _, q := range rows {
		if q.Name == in.Name {
			return &queueOut{Body: q}, nil
		}
	}
	return &queueOut{Body: Queue{Name: in.Name}}, nil // a queue needs no making
}

type updateIn struct {
	httpapi.JSONBody
	Name string `path:"name" doc:"The queue's name"`
}

func (a *API) update(ctx context.Context, in *updateIn, p QueuePatch) (*queueOut, error) {
	if mistakes := httpapi.CheckName("/path/name", in.Name); len(mistakes) > 0 {
		return nil, fault.InvalidBody(mistakes)
	}
	c, err := queue.GetControl(ctx, a.DB, in.Name, "")
	if err != nil {
		return nil, err
	}
	p.apply(&c)
	if err := queue.SetControl(ctx, a.DB, c); err != nil {
		return nil, err
	}
	return a.get(ctx, &byName{Name: in.Name})
}

func (a *API) limits(ctx context.Context, _ *struct{}) (*httpapi.PageOut[Limit], error) {
	controls, err := queue.Controls(ctx, a.DB)
	if err != nil {
		return nil, err
	}
	rows := []Limit{}
	for _, lanes := range controls {
		for lane, c := range lanes {
			if lane != "" && c.Queue != queue.AnyQueue { // those of endpoints are shown with them
				rows = append(rows, limitOf(c))
			}
		}
	}
	slices.SortFunc(rows, func(a, b Limit) int { return strings.Compare(a.Queue+" "+a.lane(), b.Queue+" "+b.lane()) })
	return &httpapi.PageOut[Limit]{Body: httpapi.Page[Limit]{Data: rows}}, nil
}

type limitOut struct{ Body Limit }

func (a *API) setLimit(ctx context.Context, _ *struct{ httpapi.JSONBody }, l Limit) (*limitOut, error) {
	if l.Tenant == "" {
		l.Tenant = httpapi.Tenant(ctx)
	}
	c := l.control()
	if err := queue.SetControl(ctx, a.DB, c); err != nil {
		return nil, err
	}
	return &limitOut{Body: limitOf(c)}, nil
}
