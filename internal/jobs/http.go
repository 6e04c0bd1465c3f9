package jobs

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// API serves the jobs to operators.
type API struct {
	DB     *pg.DB
	Kinds  *Registry
	Intake *intake.Intake[*creation]
	// KnownEndpoints gives those of the ids that are endpoints of the tenant, each with
	// what gives a job for it its place in the endpoint's order; nil when no kind delivers
	// to endpoints.
	KnownEndpoints func(ctx context.Context, tenant string, ids []uuid.UUID) (map[uuid.UUID]func(*queue.NewJob), error)
}

// Routes lists the operations on jobs.
func (a *API) Routes(api *httpapi.API) {
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-jobs", Method: http.MethodPost, Path: "/jobs", DefaultStatus: http.StatusCreated, Tags: []string{"jobs"},
		Summary: "Create one job, or an array of up to 1,000",
		Description: "An answer is given only when the jobs are durable. An array is answered item by item: 201 when all of it was created, " +
			"207 when some items were refused and the others created, and an error, with nothing created, when none was good or " +
			"?atomic=true asked for all or nothing.",
	}, httpapi.OneOrMany[NewJob](), a.create)
	intake.Documented[Detailed](api, "/jobs")
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/jobs", Tags: []string{"jobs"},
		Summary: "List jobs, newest first", Description: "Payload, retry policy and attempts are left out; GET /jobs/{id} has them.",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-job", Method: http.MethodGet, Path: "/jobs/{id}", Tags: []string{"jobs"},
		Summary: "Get one job with its attempts",
	}, a.get)
	a.operateRoutes(api)
}

func (a *API) create(ctx context.Context, in *intake.CreateIn, body httpapi.Batch[NewJob]) (*intake.CreateOut[Detailed], error) {
	items := make([]*intake.Item[*creation], len(body.Items))
	for i := range body.Items {
		given := &body.Items[i]
		given.Add(a.Kinds.CheckKind(given.Value.Kind, given.Value.Payload, Later{Before: len(given.Value.After) > 0})...)
		given.Add(a.Kinds.CheckQueue(given.Value.Kind, given.Value.Queue)...)
		key, wrong := intake.KeyOf(in.IdempotencyKey, given.Value.IdempotencyKey, body.Array)
		given.Add(wrong...)
		if err := given.Err(); err != nil {
			items[i] = intake.Refused[*creation](err)
			continue
		}
		tenant := firstOf(given.Value.Tenant, httpapi.Tenant(ctx))
		items[i] = &intake.Item[*creation]{Value: &creation{job: a.Kinds.Build(given.Value, tenant), unique: given.Value.Unique}}
		if u := given.Value.Unique; u != nil {
			items[i].Alone = idempotency.Key{Tenant: tenant, Scope: uniqueScope, Key: u.Key}
		}
		if key != "" {
			items[i].Keys = []idempotency.Reservation{{
				Key:         idempotency.Key{Tenant: tenant, Scope: keyScope, Key: key},
				Fingerprint: idempotency.Fingerprint(given.Raw),
			}}
		}
	}
	if err := a.checkEndpoints(ctx, items); err != nil {
		return nil, err
	}
	if err := a.linkAfter(ctx, body.Array, body.Items, items); err != nil {
		return nil, err
	}
	return intake.Accept[NewJob, *creation, Detailed](ctx, a.Intake, in, keyScope, body, items)
}

// checkEndpoints refuses jobs that deliver to an endpoint their tenant does not
// have, with one query for each tenant of the request, and orders the others as their
// endpoints want it.
func (a *API) checkEndpoints(ctx context.Context, items []*intake.Item[*creation]) error {
	named := map[string][]uuid.UUID{}
	for _, item := range items {
		if item.Refusal == nil && item.Value.job.EndpointID.Valid {
			named[item.Value.job.Tenant] = append(named[item.Value.job.Tenant], item.Value.job.EndpointID.UUID)
		}
	}
	known := map[string]map[uuid.UUID]func(*queue.NewJob){}
	for tenant, ids := range named {
		var err error
		if known[tenant], err = a.KnownEndpoints(ctx, tenant, ids); err != nil {
			return err
		}
	}
	for _, item := range items {
		if item.Refusal != nil || !item.Value.job.EndpointID.Valid {
			continue
		}
		j := &item.Value.job
		order, isKnown := known[j.Tenant][j.EndpointID.UUID]
		if !isKnown {
			item.Refusal = fault.InvalidField("/payload/endpoint_id", "names no endpoint of this tenant; create it with POST /endpoints first")
			continue
		}
		order(j)
	}
	return nil
}

// listIn are the filters of the job list.
type listIn struct {
	State         string       `query:"state" enum:"blocked,scheduled,pending,running,retrying,succeeded,failed,canceled"`
	Kind          string       `query:"kind"`
	Queue         string       `query:"queue"`
	Tenant        string       `query:"tenant"`
	EventID       string       `query:"event_id" format:"uuid"`
	RuleID        string       `query:"rule_id" format:"uuid"`
	EndpointID    string       `query:"endpoint_id" format:"uuid"`
	ReplayID      string       `query:"replay_id" format:"uuid" doc:"Jobs that this replay made"`
	ScheduleID    string       `query:"schedule_id" format:"uuid" doc:"Jobs that this schedule made; those of its events are listed by event_id"`
	CreatedAfter  httpapi.Time `query:"created_after" doc:"Created at this time or later"`
	CreatedBefore httpapi.Time `query:"created_before" doc:"Created before this time"`
	Limit         int          `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor        string       `query:"cursor" doc:"next_cursor of the page before, with the same filters"`
	Order         string       `query:"order" enum:"desc,asc" default:"desc" doc:"By creation"`
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Record], error) {
	list := httpapi.List{Path: "/jobs", Filters: map[string]string{
		"state": in.State, "kind": in.Kind, "queue": in.Queue, "tenant": in.Tenant, "event_id": in.EventID, "rule_id": in.RuleID,
		"endpoint_id": in.EndpointID, "replay_id": in.ReplayID, "schedule_id": in.ScheduleID, "created_after": in.CreatedAfter.Text(), "created_before": in.CreatedBefore.Text(), "order": in.Order,
	}}
	after, err := list.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	f := Filter{
		State: queue.State(in.State), Kind: in.Kind, Queue: in.Queue, Tenant: in.Tenant,
		EventID: in.EventID, RuleID: in.RuleID, EndpointID: in.EndpointID, ReplayID: in.ReplayID, ScheduleID: in.ScheduleID,
		CreatedAfter: bound(in.CreatedAfter), CreatedBefore: bound(in.CreatedBefore), Ascending: in.Order == "asc", Limit: in.Limit + 1, After: after,
	}
	rows, err := List(ctx, a.DB, f)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, list, func(r Record) string { return r.ID.String() }), nil
}

// firstDay is before anything here was created. Ids, by which a list is bounded,
// cannot tell times before 1970.
var firstDay = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)

// bound makes a bound of the list, which an earlier time is no other than: to the
// list the zero time is none.
func bound(t httpapi.Time) time.Time {
	if t.Given && t.Before(firstDay) {
		return firstDay
	}
	return t.Time
}

type getIn struct {
	ID string `path:"id" format:"uuid" doc:"The job's id"`
}

type getOut struct{ Body Detailed }

func (a *API) get(ctx context.Context, in *getIn) (*getOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	job, err := Get(ctx, a.DB, id)
	if err != nil {
		return nil, err
	}
	return &getOut{Body: job}, nil
}
