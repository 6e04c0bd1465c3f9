package replays

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

const (
	kindName = "replay" // of bulk operations
	noun     = "replay"
)

// defaultRate is how many events a second are routed when nobody says otherwise. It is
// a fraction of what one worker can do, so that live events hardly notice.
const defaultRate = 1000

// Route says which way events go again.
type Route struct {
	Rules     []string `json:"rules,omitempty" minItems:"1" maxItems:"100" format:"uuid" doc:"Rules of the tenant, through which alone the events go, disabled ones too; default: the enabled rules and the subscriptions of endpoints, as they are when the event is routed"`
	Endpoints []string `json:"endpoints,omitempty" minItems:"1" maxItems:"100" format:"uuid" doc:"Make only the jobs that deliver to these endpoints; default: all jobs"`
	Priority  *int     `json:"priority,omitempty" minimum:"1" maximum:"4" doc:"Of the jobs, 1 is served first, 4 last; default: 4 for a replay by filter, so that what is live goes first, and what the rule says for that of one event"`
	DryRun    bool     `json:"dry_run,omitempty" doc:"Only count"`
}

// Filter says which events are taken: those that fit all fields it has.
type Filter struct {
	Type          string `json:"type,omitempty" doc:"Exactly this type"`
	Source        string `json:"source,omitempty" doc:"Exactly this source"`
	Subject       string `json:"subject,omitempty" doc:"Exactly this subject"`
	CreatedAfter  string `json:"created_after,omitempty" format:"date-time" doc:"Created at this time or later, as in GET /events"`
	CreatedBefore string `json:"created_before,omitempty" format:"date-time" doc:"Created before this time; events that are accepted after the replay was asked for are not taken in any case"`
}

// NewReplay asks for a replay by filter.
type NewReplay struct {
	Route
	Filter Filter `json:"filter" doc:"Which events; at least one field"`
	Rate   int    `json:"rate,omitempty" minimum:"1" maximum:"100000" doc:"Most events routed in a second; default 1000"`
	Tenant string `json:"tenant,omitempty" doc:"Whose events, rules and endpoints; default: the caller's"`
}

// NewEventReplay asks for the replay of one event.
type NewEventReplay struct{ Route }

// Replay is a replay as it is shown.
type Replay struct {
	ID         uuid.UUID   `json:"id"`
	Tenant     string      `json:"tenant"`
	State      bulk.State  `json:"state" enum:"running,done,canceled,failed" doc:"The last three are final"`
	EventID    *uuid.UUID  `json:"event_id,omitempty" doc:"The event, when it is the replay of one"`
	Filter     *Filter     `json:"filter,omitempty" doc:"Which events, when it is a replay by filter"`
	Rules      []uuid.UUID `json:"rules,omitempty" doc:"The named rules"`
	Endpoints  []uuid.UUID `json:"endpoints,omitempty" doc:"The named endpoints"`
	Priority   int         `json:"priority,omitempty" doc:"Of the jobs; absent when each has its rule's"`
	Rate       int         `json:"rate,omitempty" doc:"Most events routed in a second"`
	Total      *int64      `json:"total,omitempty" doc:"Events that the filter takes; absent until they are counted"`
	Done       int64       `json:"done" doc:"Events routed so far, in the order of their creation"`
	Failed     int64       `json:"failed" doc:"Those of done that could not be routed and were passed over; last_error says why"`
	Jobs       int64       `json:"jobs" doc:"Jobs made so far; GET /jobs?replay_id= lists them"`
	Position   *time.Time  `json:"position,omitempty" doc:"When the event was created that was counted or routed last"`
	LastError  string      `json:"last_error,omitempty" doc:"The newest error; a running replay goes on after it"`
	CreatedAt  time.Time   `json:"created_at"`
	StartedAt  *time.Time  `json:"started_at,omitempty"`
	FinishedAt *time.Time  `json:"finished_at,omitempty"`
}

// EventReplay is the replay of one event with what it made.
type EventReplay struct {
	Replay
	JobIDs []uuid.UUID `json:"job_ids" nullable:"false" doc:"The jobs that it made"`
}

// DryRun is what a replay would do now.
type DryRun struct {
	Events      int  `json:"events" doc:"Events that would be routed"`
	EventsExact bool `json:"events_exact" doc:"false: there are more, counting took too long"`
	Jobs        int  `json:"jobs" doc:"Jobs that would be made of them"`
	JobsExact   bool `json:"jobs_exact" doc:"false: there may be more, routing all took too long"`
}

// Validate gives the mistakes that need no database.
func (n NewReplay) Validate() []fault.Detail {
	mistakes := append(n.Filter.check("/filter"), httpapi.CheckName("/tenant", n.Tenant)...)
	return append(mistakes, n.check()...)
}

// Validate gives the mistakes that need no database.
func (n NewEventReplay) Validate() []fault.Detail { return n.check() }

func (r Route) check() []fault.Detail {
	return append(checkIDs("/rules", r.Rules), checkIDs("/endpoints", r.Endpoints)...)
}

// checkIDs gives the mistakes of ids in a list.
func checkIDs(pointer string, ids []string) []fault.Detail {
	var mistakes []fault.Detail
	seen := map[uuid.UUID]bool{}
	for i, text := range ids {
		id, err := uuid.Parse(text)
		switch at := fmt.Sprintf("%s/%d", pointer, i); {
		case err != nil:
			mistakes = append(mistakes, fault.Detail{Pointer: at, Detail: "must be a UUID"})
		case seen[id]:
			mistakes = append(mistakes, fault.Detail{Pointer: at, Detail: "stands twice; name it once"})
		}
		seen[id] = true
	}
	return mistakes
}

func (f Filter) check(pointer string) []fault.Detail {
	if f == (Filter{}) {
		return []fault.Detail{{Pointer: pointer, Detail: "must have at least one of type, source, subject, created_after and created_before; " +
			`for all events say {"created_after": "1970-01-01T00:00:00Z"}`}}
	}
	mistakes := httpapi.CheckText(pointer+"/type", f.Type, 255)
	mistakes = append(mistakes, httpapi.CheckText(pointer+"/source", f.Source, 2048)...)
	mistakes = append(mistakes, httpapi.CheckText(pointer+"/subject", f.Subject, 2048)...)
	from, wrong := httpapi.ParseTime(pointer+"/created_after", f.CreatedAfter)
	mistakes = append(mistakes, wrong...)
	before, wrong := httpapi.ParseTime(pointer+"/created_before", f.CreatedBefore)
	mistakes = append(mistakes, wrong...)
	if len(mistakes) == 0 && f.CreatedAfter != "" && f.CreatedBefore != "" && !from.Before(before) {
		mistakes = append(mistakes, fault.Detail{Pointer: pointer + "/created_before", Detail: "must be later than created_after"})
	}
	return mistakes
}

// spec is what a replay was asked for, as its operation keeps it.
type spec struct {
	EventID   *uuid.UUID  `json:"event_id,omitempty"`
	Filter    *Filter     `json:"filter,omitempty"`
	Rules     []uuid.UUID `json:"rules,omitempty"`
	Endpoints []uuid.UUID `json:"endpoints,omitempty"`
	Priority  int         `json:"priority,omitempty"` // 0: the rule's
}

// spec makes the part of a valid request that is the same for all.
func (r Route) spec() spec {
	s := spec{Rules: ids(r.Rules), Endpoints: ids(r.Endpoints)}
	if r.Priority != nil {
		s.Priority = *r.Priority
	}
	return s
}

// ids reads ids that were checked.
func ids(texts []string) []uuid.UUID {
	var all []uuid.UUID
	for _, t := range texts {
		all = append(all, uuid.MustParse(t))
	}
	return all
}

func (n NewReplay) spec() spec {
	s := n.Route.spec()
	s.Filter = &n.Filter
	if n.Priority == nil {
		s.Priority = queue.LowestPriority
	}
	return s
}

// clocksApart is how far the clocks of processes, which make the ids of events, may be
// ahead of the database's.
const clocksApart = time.Hour

// walk is the way over the events of a tenant that were accepted by some time; zero is
// whenever.
func (f Filter) walk(tenant string, acceptedBy time.Time) events.Walk {
	w := events.Walk{Tenant: tenant, Type: f.Type, Source: f.Source, Subject: f.Subject, AcceptedBy: acceptedBy, Before: uuid.Max}
	if !acceptedBy.IsZero() {
		w.Before = queue.FirstID(acceptedBy.Add(clocksApart))
	}
	if f.CreatedAfter != "" {
		from, _ := httpapi.ParseTime("", f.CreatedAfter) // checked
		w.From = queue.FirstID(from)
	}
	if f.CreatedBefore != "" {
		before, _ := httpapi.ParseTime("", f.CreatedBefore)
		if id := queue.FirstID(before); id.String() < w.Before.String() {
			w.Before = id
		}
	}
	return w
}

func (s spec) through(tenant string) events.Through {
	return events.Through{Tenant: tenant, Rules: s.Rules, Endpoints: s.Endpoints}
}

func readSpec(op bulk.Operation) (spec, error) {
	var s spec
	if err := json.Unmarshal([]byte(op.Spec), &s); err != nil {
		return spec{}, fmt.Errorf("read what replay %s was asked for: %w", op.ID, err)
	}
	return s, nil
}

// show makes the replay of an operation.
func show(op bulk.Operation) (Replay, error) {
	s, err := readSpec(op)
	if err != nil {
		return Replay{}, err
	}
	r := Replay{
		ID: op.ID, Tenant: op.Tenant, State: op.State, EventID: s.EventID, Filter: s.Filter, Rules: s.Rules, Endpoints: s.Endpoints,
		Priority: s.Priority, Rate: op.Rate, Total: op.Total, Done: op.Done, Failed: op.Skipped, Jobs: op.Made,
		LastError: op.LastError, CreatedAt: op.CreatedAt.UTC(), StartedAt: pg.UTC(op.StartedAt), FinishedAt: pg.UTC(op.FinishedAt),
	}
	if s.EventID != nil {
		r.Rate = 0
	}
	if id, err := uuid.Parse(op.Position); err == nil {
		at := queue.IDTime(id).UTC()
		r.Position = &at
	}
	return r, nil
}
