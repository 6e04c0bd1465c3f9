package events

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
)

// Routes lists the operation by which events come in.
func (a *Acceptor) Routes(api *httpapi.API) {
	httpapi.RegisterForms(api, httpapi.Operation{
		OperationID: "send-events", Method: http.MethodPost, Path: "/events", DefaultStatus: http.StatusCreated, Tags: []string{"events"},
		Summary: "Accept one event, or an array of up to 1,000",
		Description: "The answer comes when the event and the jobs that rules and subscriptions make of it are durable. " +
			"An array is answered item by item: 201 when all of it was accepted, 207 when some items were refused and the others stored, " +
			"and an error, with nothing stored, when none was good or ?atomic=true asked for all or nothing. " +
			"CloudEvents 1.0 are taken in structured mode and in batches by their Content-Type, and in binary mode by ce- headers, " +
			"where the body is the data of any Content-Type; source and id together name one event.",
	}, forms(), a.send)
	intake.Documented[Event](api, "/events")
}

// forms are the bodies of an event.
func forms() httpapi.Forms[httpapi.Batch[NewEvent]] {
	return httpapi.Forms[httpapi.Batch[NewEvent]]{
		JSON: httpapi.OneOrMany[NewEvent](), Pick: pickForm,
		Others: map[string]func(huma.Registry) *huma.Schema{
			cloudevents.MediaStructured: func(huma.Registry) *huma.Schema { return cloudEventSchema() },
			cloudevents.MediaBatch: func(huma.Registry) *huma.Schema {
				most := httpapi.MaxBatch
				return &huma.Schema{Type: huma.TypeArray, Items: cloudEventSchema(), MaxItems: &most}
			},
			"*/*": func(huma.Registry) *huma.Schema {
				return &huma.Schema{Description: "The data of a CloudEvent in binary mode, with the attributes in ce- headers"}
			},
		},
	}
}

// cloudEventSchema documents a CloudEvent as JSON.
func cloudEventSchema() *huma.Schema {
	text := func(doc string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: doc} }
	s := &huma.Schema{
		Type: huma.TypeObject, Description: "A CloudEvent 1.0. Further members are extension attributes: texts, booleans and 32-bit integers",
		Required: []string{"id", "source", "specversion", "type"}, AdditionalProperties: true,
		Properties: map[string]*huma.Schema{
			"id": text("The sender's id"), "source": text("Where it happened: a URI reference"), "type": text("What happened"),
			"specversion": {Type: huma.TypeString, Enum: []any{cloudevents.SpecVersion}}, "datacontenttype": {Description: "The media type of data; default: application/json"},
			"data": {Description: "Any JSON value; a text when datacontenttype is not JSON"}, "data_base64": {Description: "In place of data: bytes in base64"},
		},
	}
	s.PrecomputeMessages()
	return s
}

// sendIn is the input of the operation. The ce- headers are read by the form.
type sendIn struct {
	intake.CreateIn
	CEHeaders
}

// CEHeaders documents the headers of CloudEvents in binary mode.
type CEHeaders struct {
	SpecVersion string `header:"ce-specversion" doc:"Of a CloudEvent in binary mode: 1.0. Values of ce- headers are percent-encoded"`
	ID          string `header:"ce-id" doc:"Of a CloudEvent in binary mode: the sender's id"`
	Source      string `header:"ce-source" doc:"Of a CloudEvent in binary mode: where it happened"`
	Type        string `header:"ce-type" doc:"Of a CloudEvent in binary mode: what happened"`
	Subject     string `header:"ce-subject" doc:"Of a CloudEvent in binary mode: what it happened to"`
	Time        string `header:"ce-time" doc:"Of a CloudEvent in binary mode: when it happened, RFC 3339"`
	DataSchema  string `header:"ce-dataschema" doc:"Of a CloudEvent in binary mode: the URI of the schema of data. Further ce- headers are extension attributes"`
}

func (a *Acceptor) send(ctx context.Context, in *sendIn, body httpapi.Batch[NewEvent]) (*intake.CreateOut[Event], error) {
	if len(body.Items) == 0 { // a batch of CloudEvents may be empty
		return intake.None[Event](), nil
	}
	items := make([]*intake.Item[*acceptance], len(body.Items))
	for i := range body.Items {
		given := &body.Items[i]
		key, wrong := intake.KeyOf(in.IdempotencyKey, given.Value.IdempotencyKey, body.Array)
		given.Add(wrong...)
		hint(given.Mistakes)
		if err := given.Err(); err != nil {
			items[i] = intake.Refused[*acceptance](err)
			continue
		}
		tenant := given.Value.Tenant
		if tenant == "" {
			tenant = httpapi.Tenant(ctx)
		}
		items[i] = &intake.Item[*acceptance]{
			Value: a.begin(given.Value, tenant),
			Keys:  keys(given.Value, tenant, key, given.Raw),
		}
	}
	return intake.Accept[NewEvent, *acceptance, Event](ctx, a.intake, &in.CreateIn, keyScope, body, items)
}

// hint tells who sends a CloudEvent as plain JSON how to send it.
func hint(mistakes []fault.Detail) {
	for i, m := range mistakes {
		if m.Pointer == "/specversion" && strings.HasPrefix(m.Detail, "is not a field") {
			mistakes[i].Detail = "is that of a CloudEvent, which has the Content-Type " + cloudevents.MediaStructured + ", or in an array " + cloudevents.MediaBatch
		}
	}
}

// API shows events and explains what rules make of them.
type API struct {
	DB    *pg.DB
	Kinds *jobs.Registry
}

// Routes lists the operations on events that are there, and on those that might be.
func (a *API) Routes(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/events", Tags: []string{"events"},
		Summary: "List events, newest first", Description: "Data and jobs are left out; GET /events/{id} has them.",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-event", Method: http.MethodGet, Path: "/events/{id}", Tags: []string{"events"},
		Summary: "Get one event with its data and jobs, and why each rule and each endpoint that subscribes takes it or does not",
	}, a.get)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "test-rule", Method: http.MethodPost, Path: "/rules/test", DefaultStatus: http.StatusOK, Tags: []string{"rules"},
		Summary: "Say whether a pattern matches an event, and why, and what actions make of it", Description: "Nothing is stored, and nothing is done.",
	}, httpapi.OneLoose[ruleTest](), a.test)
}

// listIn are the filters of the event list.
type listIn struct {
	Tenant        string       `query:"tenant"`
	Type          string       `query:"type"`
	CreatedAfter  httpapi.Time `query:"created_after" doc:"Created at this time or later: when the id was made, which is when the event came, or when SQL sent it"`
	CreatedBefore httpapi.Time `query:"created_before" doc:"Created before this time"`
	Limit         int          `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor        string       `query:"cursor" doc:"next_cursor of the page before, with the same filters"`
	Order         string       `query:"order" enum:"desc,asc" default:"desc" doc:"By creation"`
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Listed], error) {
	l := httpapi.List{Path: "/events", Filters: map[string]string{
		"tenant": in.Tenant, "type": in.Type, "created_after": in.CreatedAfter.Text(), "created_before": in.CreatedBefore.Text(), "order": in.Order,
	}}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := list(ctx, a.DB, filter{
		tenant: in.Tenant, eventType: in.Type, from: firstID(in.CreatedAfter), before: firstID(in.CreatedBefore),
		after: after, ascending: in.Order == "asc", limit: in.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(e Listed) string { return e.ID.String() }), nil
}

// firstID is the bound of the list that a time stands for; "" when none was given.
func firstID(t httpapi.Time) string {
	if !t.Given {
		return ""
	}
	return queue.FirstID(t.Time).String()
}

type getIn struct {
	ID string `path:"id" format:"uuid" doc:"The event's id"`
}

type getOut struct {
	Body httpapi.Verbatim[Explained]
}

func (a *API) get(ctx context.Context, in *getIn) (*getOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	e, data, err := explain(ctx, a.DB, a.Kinds, id)
	if err != nil {
		return nil, err
	}
	body, err := httpapi.NewVerbatim(e, "data", data)
	if err != nil {
		return nil, err
	}
	return &getOut{Body: body}, nil
}

// ruleTest is a pattern and an event to try it on.
type ruleTest struct {
	Pattern httpapi.JSON   `json:"pattern" doc:"As in POST /rules"`
	Event   triedEvent     `json:"event" doc:"As in POST /events, or a CloudEvent in structured mode; at most 64 KiB"`
	Actions []rules.Action `json:"actions,omitempty" maxItems:"20" doc:"As in POST /rules, to see what they make of the event; endpoint_id may be absent"`
}

// triedEvent is an event kept as its bytes.
type triedEvent struct{ httpapi.JSON }

// Schema leaves the check to readEvent, which finds more than a choice of two forms
// would tell.
func (triedEvent) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

type testOut struct{ Body Tried }

func (a *API) test(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[ruleTest]) (*testOut, error) {
	t := Tester{Kinds: a.Kinds, Tenant: httpapi.Tenant(ctx), Limits: rules.OfRequest}
	why, mistakes := t.Test(given.Value.Pattern, given.Value.Event.JSON, given.Value.Actions)
	given.Add(mistakes...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	return &testOut{Body: why}, nil
}
