package events

import (
	"context"
	"net/http"

	"github.com/signalstack/signalstack/internal/httpapi"
)

// Routes lists the operations that erase data.
func (e *Eraser) Routes(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		OperationID: "erase-event", Method: http.MethodPost, Path: "/events/{id}/erase", Tags: []string{"events"},
		Summary: "Erase the data of one event",
		Description: "Everything else of the event stays. Its jobs that have not ended are canceled, and what its jobs hold of the data " +
			"goes too: payloads, requests, responses and errors. It may be asked twice.",
	}, e.eraseOne)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "erase-subject", Method: http.MethodPost, Path: "/events/erase", DefaultStatus: http.StatusAccepted, Tags: []string{"events"},
		Summary: "Erase the data of all events of a subject",
		Description: "Of the events that were accepted until now. What takes longer than two seconds is done by a worker; " +
			"GET /erasures/{id} says when it is finished.",
	}, httpapi.One[NewErasure](), e.eraseSubject)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-erasures", Method: http.MethodGet, Path: "/erasures", Tags: []string{"events"}, Summary: "List requests to erase a subject, newest first",
	}, e.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-erasure", Method: http.MethodGet, Path: "/erasures/{id}", Tags: []string{"events"}, Summary: "Get a request to erase a subject, and how far it is",
	}, e.get)
}

type listedOut struct{ Body Listed }

func (e *Eraser) eraseOne(ctx context.Context, in *getIn) (*listedOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	left, err := e.EraseOne(ctx, id)
	if err != nil {
		return nil, err
	}
	return &listedOut{Body: left}, nil
}

type erasureOut struct{ Body Erasure }

func (e *Eraser) eraseSubject(ctx context.Context, _ *struct{ httpapi.JSONBody }, n NewErasure) (*erasureOut, error) {
	if n.Tenant == "" {
		n.Tenant = httpapi.Tenant(ctx)
	}
	var out erasureOut
	var err error
	if n.DryRun {
		out.Body, err = wouldErase(ctx, e.DB, n.Tenant, n.Subject)
	} else {
		out.Body, err = e.EraseSubject(ctx, n.Tenant, n.Subject)
	}
	if err != nil {
		return nil, err
	}
	return &out, nil
}

type erasuresIn struct {
	Tenant string `query:"tenant"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (e *Eraser) list(ctx context.Context, in *erasuresIn) (*httpapi.PageOut[Erasure], error) {
	l := httpapi.List{Path: "/erasures", Filters: map[string]string{"tenant": in.Tenant}}
	before, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := listErasures(ctx, e.DB, in.Tenant, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(x Erasure) string { return x.ID.String() }), nil
}

type erasureIn struct {
	ID string `path:"id" format:"uuid" doc:"The erasure's id"`
}

func (e *Eraser) get(ctx context.Context, in *erasureIn) (*erasureOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	x, err := getErasure(ctx, e.DB, id)
	if err != nil {
		return nil, err
	}
	return &erasureOut{Body: x}, nil
}
