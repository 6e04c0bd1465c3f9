package attempts

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// API serves the log to operators.
type API struct{ DB *pg.DB }

// Routes lists the operations on the log.
func (a *API) Routes(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-attempts", Method: http.MethodGet, Path: "/attempts", Tags: []string{"jobs"},
		Summary: "List attempts of all jobs, those of the newest job first",
		Description: "The order is that of the creation of their jobs, and of one job the newest attempt first. A filter that fits few " +
			"attempts may give a page with less than limit of them, or none, and a next_cursor: so far the log was looked through, and " +
			"the next page goes on from there. Only a page without next_cursor is the last. Attempts that have not ended are not listed.",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-attempt", Method: http.MethodGet, Path: "/attempts/{job_id}/{lease}", Tags: []string{"jobs"},
		Summary: "Get one attempt with its request and response",
	}, a.get)
}

// listIn are the filters of the log.
type listIn struct {
	Tenant        string       `query:"tenant"`
	Kind          string       `query:"kind"`
	JobID         string       `query:"job_id" format:"uuid"`
	EventID       string       `query:"event_id" format:"uuid"`
	EventType     string       `query:"event_type"`
	EndpointID    string       `query:"endpoint_id" format:"uuid"`
	State         string       `query:"state" enum:"succeeded,failed,canceled,retrying" doc:"The state that the attempt left its job in"`
	Outcome       string       `query:"outcome" enum:"succeeded,error,permanent,timeout,panic,crashed,canceled,throttled"`
	Status        int          `query:"status" minimum:"100" maximum:"599" doc:"HTTP status of the response" example:"503"`
	StatusClass   string       `query:"status_class" enum:"2xx,3xx,4xx,5xx,none" doc:"none: no response came, or the kind speaks no HTTP"`
	ErrorClass    string       `query:"error_class" enum:"blocked,dns,refused,unreachable,tls,reset,timeout,protocol,other" doc:"Why no response came"`
	StartedAfter  httpapi.Time `query:"started_after" doc:"The attempt began at this time or later. Jobs that are older may have such attempts; with created_after as well, the log is not looked through to its end for them"`
	StartedBefore httpapi.Time `query:"started_before" doc:"The attempt began before this time"`
	CreatedAfter  httpapi.Time `query:"created_after" doc:"The job was created at this time or later"`
	CreatedBefore httpapi.Time `query:"created_before" doc:"The job was created before this time"`
	Text          string       `query:"text" maxLength:"200" doc:"Stands in the error, the URL or the kept part of the response's body; letters from A to Z in either case"`
	Include       string       `query:"include" enum:"exchange" doc:"exchange: give headers and bodies as well"`
	Limit         int          `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor        string       `query:"cursor" doc:"next_cursor of the page before, with the same filters"`
}

func (in *listIn) list() httpapi.List {
	status := ""
	if in.Status != 0 {
		status = strconv.Itoa(in.Status)
	}
	return httpapi.List{Path: "/attempts", Filters: map[string]string{
		"tenant": in.Tenant, "kind": in.Kind, "job_id": in.JobID, "event_id": in.EventID, "event_type": in.EventType, "endpoint_id": in.EndpointID,
		"state": in.State, "outcome": in.Outcome, "status": status, "status_class": in.StatusClass, "error_class": in.ErrorClass,
		"started_after": in.StartedAfter.Text(), "started_before": in.StartedBefore.Text(),
		"created_after": in.CreatedAfter.Text(), "created_before": in.CreatedBefore.Text(), "text": in.Text, "include": in.Include,
	}}
}

func (in *listIn) filter() Filter {
	f := Filter{
		Tenant: in.Tenant, Kind: in.Kind, EventType: in.EventType, JobID: idOf(in.JobID), EventID: idOf(in.EventID), EndpointID: idOf(in.EndpointID),
		CreatedAfter: in.CreatedAfter.Time, CreatedBefore: in.CreatedBefore.Time, State: in.State, Outcome: in.Outcome, ErrorClass: in.ErrorClass,
		StartedAfter: in.StartedAfter.Time, StartedBefore: in.StartedBefore.Time, Text: in.Text,
		StatusFrom: in.Status, StatusTo: in.Status, NoStatus: in.StatusClass == "none",
	}
	// Both may be given; what fits the one and not the other is nothing.
	if class, err := strconv.Atoi(strings.TrimSuffix(in.StatusClass, "xx")); err == nil {
		first, last := class*100, class*100+99
		if in.Status != 0 {
			first, last = max(first, in.Status), min(last, in.Status)
		}
		f.StatusFrom, f.StatusTo = first, last
	}
	return f
}

// idOf reads an id that the operation has checked.
func idOf(text string) uuid.NullUUID {
	id, err := uuid.Parse(text)
	return uuid.NullUUID{UUID: id, Valid: err == nil}
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Logged], error) {
	l, f := in.list(), in.filter()
	key, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	from := f.start()
	if key != "" {
		if from, err = placeOf(key); err != nil {
			return nil, err
		}
	}
	p, err := list(ctx, a.DB, f, from, in.Limit)
	if err != nil {
		return nil, err
	}
	if in.Include == "" {
		for i := range p.attempts {
			p.attempts[i].Exchange = nil
		}
	}
	next := ""
	if !p.end {
		next = p.last.key()
	}
	return httpapi.NewPart(p.attempts, in.Limit, l, next), nil
}

// key is the place in a cursor.
func (p place) key() string { return fmt.Sprintf("%s %d", p.job, p.lease) }

func placeOf(key string) (place, error) {
	job, lease, _ := strings.Cut(key, " ")
	id, err := uuid.Parse(job)
	if err != nil {
		return place{}, fmt.Errorf("read cursor: %w", err)
	}
	n, err := strconv.ParseInt(lease, 10, 64)
	if err != nil {
		return place{}, fmt.Errorf("read cursor: %w", err)
	}
	return place{id, n}, nil
}

type getIn struct {
	JobID string `path:"job_id" format:"uuid"`
	Lease int64  `path:"lease" minimum:"1" doc:"As in the list, and with the attempts of GET /jobs/{id}"`
}

type getOut struct{ Body Logged }

func (a *API) get(ctx context.Context, in *getIn) (*getOut, error) {
	id, err := httpapi.ParseID(in.JobID)
	if err != nil {
		return nil, fault.InvalidParameter("/path/job_id", "must be a UUID, as in the list")
	}
	attempt, err := get(ctx, a.DB, id, in.Lease)
	if err != nil {
		return nil, err
	}
	return &getOut{Body: attempt}, nil
}
