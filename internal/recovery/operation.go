package recovery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

const (
	kindName = "jobs" // of bulk operations
	noun     = "operation"
)

// What an operation does with its jobs.
const (
	actRetry  = "retry"
	actCancel = "cancel"
)

// defaultRate is how many jobs a second are taken up when nobody says otherwise: more
// than most receivers take, and a fraction of what one worker can do.
const defaultRate = 1000

// allTenants, as a tenant, are all of them. No tenant has the name.
const allTenants = "*"

// Which says which jobs are taken, beside their state: those that fit all fields it has.
type Which struct {
	Kind          string `json:"kind,omitempty" doc:"Exactly this kind" example:"webhook"`
	Queue         string `json:"queue,omitempty" doc:"Exactly this queue"`
	Type          string `json:"type,omitempty" doc:"Made of an event of exactly this type"`
	EventID       string `json:"event_id,omitempty" format:"uuid" doc:"Made of this event"`
	RuleID        string `json:"rule_id,omitempty" format:"uuid" doc:"Made by this rule"`
	EndpointID    string `json:"endpoint_id,omitempty" format:"uuid" doc:"Delivering to this endpoint"`
	ReplayID      string `json:"replay_id,omitempty" format:"uuid" doc:"Made by this replay"`
	CreatedAfter  string `json:"created_after,omitempty" format:"date-time" doc:"Created at this time or later"`
	CreatedBefore string `json:"created_before,omitempty" format:"date-time" doc:"Created before this time"`
}

// RetryFilter says which jobs are taken up again.
type RetryFilter struct {
	State string `json:"state,omitempty" enum:"failed,canceled,succeeded" doc:"How they ended; default failed"`
	Which
}

// CancelFilter says which jobs are canceled.
type CancelFilter struct {
	State string `json:"state,omitempty" enum:"blocked,scheduled,pending,running,retrying" doc:"Where they stand; default: all that have not ended"`
	Which
}

// JobFilter is the filter of an operation as it is shown.
type JobFilter struct {
	State string `json:"state,omitempty" enum:"blocked,scheduled,pending,running,retrying,succeeded,failed,canceled"`
	Which
}

// Pace says how an operation goes on.
type Pace struct {
	Rate   int  `json:"rate,omitempty" minimum:"1" maximum:"100000" doc:"Most jobs taken up in a second; default 1000"`
	DryRun bool `json:"dry_run,omitempty" doc:"Only count"`
}

// NewRetry asks for the retry of jobs.
type NewRetry struct {
	Filter   RetryFilter `json:"filter" doc:"Which jobs; at least one field"`
	Priority *int        `json:"priority,omitempty" minimum:"1" maximum:"4" doc:"Of the jobs from now on, 1 is served first, 4 last; default 4, so that what is live goes first"`
	Pace
	Tenant string `json:"tenant,omitempty" doc:"Whose jobs; * are those of all tenants; default: the caller's"`
}

// NewCancel asks for the cancel of jobs.
type NewCancel struct {
	Filter CancelFilter `json:"filter" doc:"Which jobs; at least one field"`
	Pace
	Tenant string `json:"tenant,omitempty" doc:"Whose jobs; * are those of all tenants; default: the caller's"`
}

// NewRecovery asks for all that an endpoint missed.
type NewRecovery struct {
	Since    string `json:"since" format:"date-time" doc:"Webhooks that were created at this time or later"`
	Until    string `json:"until,omitempty" format:"date-time" doc:"Created before this time; default: all that failed before the request"`
	Priority *int   `json:"priority,omitempty" minimum:"1" maximum:"4" doc:"Of the webhooks from now on, 1 is served first, 4 last; default 4, so that new ones go first"`
	Pace
}

// Operation is an operation as it is shown.
type Operation struct {
	ID         uuid.UUID  `json:"id"`
	Tenant     string     `json:"tenant" doc:"Whose jobs; * are those of all tenants"`
	Action     string     `json:"action" enum:"retry,cancel"`
	State      bulk.State `json:"state" enum:"running,done,canceled,failed" doc:"The last three are final"`
	Filter     JobFilter  `json:"filter"`
	Priority   int        `json:"priority,omitempty" doc:"Of the jobs that are taken up again; absent for a cancel"`
	Rate       int        `json:"rate" doc:"Most jobs taken up in a second"`
	Total      *int64     `json:"total,omitempty" doc:"Jobs that the filter takes; absent until they are counted"`
	Done       int64      `json:"done" doc:"Jobs that were seen to, in the order of their creation"`
	Jobs       int64      `json:"jobs" doc:"Those of done that were taken up again; or canceled, or whose worker was asked to stop"`
	Skipped    int64      `json:"skipped" doc:"Those of done that were left as they are; last_error says why the last one was"`
	Position   *time.Time `json:"position,omitempty" doc:"When the job was created that was counted or seen to last"`
	LastError  string     `json:"last_error,omitempty" doc:"Why a job was skipped, or the newest error; a running operation goes on after it"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// JobsDryRun is what an operation would do now.
type JobsDryRun struct {
	Jobs      int  `json:"jobs" doc:"Jobs that fit the filter, without those that somebody took up again and that have not ended since"`
	JobsExact bool `json:"jobs_exact" doc:"false: there are more, counting took too long"`
}

// Validate gives the mistakes that need no database.
func (n NewRetry) Validate() []fault.Detail {
	return append(n.Filter.check("/filter", n.Filter == RetryFilter{}), checkTenant(n.Tenant)...)
}

// Validate gives the mistakes that need no database.
func (n NewCancel) Validate() []fault.Detail {
	return append(n.Filter.check("/filter", n.Filter == CancelFilter{}), checkTenant(n.Tenant)...)
}

// Validate gives the mistakes that need no database.
func (n NewRecovery) Validate() []fault.Detail {
	return checkPeriod("/since", n.Since, "/until", n.Until)
}

func checkTenant(tenant string) []fault.Detail {
	if tenant == allTenants {
		return nil
	}
	return httpapi.CheckName("/tenant", tenant)
}

func (w Which) check(pointer string, empty bool) []fault.Detail {
	if empty {
		return []fault.Detail{{Pointer: pointer, Detail: "must have at least one of state, kind, queue, type, event_id, rule_id, endpoint_id, replay_id, " +
			`created_after and created_before; for all jobs say {"created_after": "1970-01-01T00:00:00Z"}`}}
	}
	mistakes := append(httpapi.CheckText(pointer+"/kind", w.Kind, 63), httpapi.CheckName(pointer+"/queue", w.Queue)...)
	mistakes = append(mistakes, httpapi.CheckText(pointer+"/type", w.Type, 255)...)
	for _, id := range []struct{ name, text string }{
		{"event_id", w.EventID}, {"rule_id", w.RuleID}, {"endpoint_id", w.EndpointID}, {"replay_id", w.ReplayID},
	} {
		if _, err := httpapi.ParseID(id.text); id.text != "" && err != nil {
			mistakes = append(mistakes, fault.Detail{Pointer: pointer + "/" + id.name, Detail: "must be a UUID"})
		}
	}
	return append(mistakes, checkPeriod(pointer+"/created_after", w.CreatedAfter, pointer+"/created_before", w.CreatedBefore)...)
}

func checkPeriod(fromAt, from, beforeAt, before string) []fault.Detail {
	first, mistakes := httpapi.ParseTime(fromAt, from)
	last, wrong := httpapi.ParseTime(beforeAt, before)
	mistakes = append(mistakes, wrong...)
	if len(mistakes) == 0 && from != "" && before != "" && !first.Before(last) {
		mistakes = append(mistakes, fault.Detail{Pointer: beforeAt, Detail: "must be later than " + fromAt[1+strings.LastIndexByte(fromAt, '/'):]})
	}
	return mistakes
}

// spec is what an operation was asked for, as it is kept.
type spec struct {
	Action   string    `json:"action"`
	Filter   JobFilter `json:"filter"`
	Priority int       `json:"priority,omitempty"`
}

func (n NewRetry) spec() spec {
	return retryOf(JobFilter{State: cmp.Or(n.Filter.State, string(queue.Failed)), Which: n.Filter.Which}, n.Priority)
}

func (n NewCancel) spec() spec {
	return spec{Action: actCancel, Filter: JobFilter(n.Filter)}
}

// spec makes the retry of the webhooks that an endpoint missed. Those that still wait
// for it go on by themselves.
func (n NewRecovery) spec(endpoint uuid.UUID) spec {
	return retryOf(JobFilter{State: string(queue.Failed), Which: Which{
		Kind: webhooks.KindName, EndpointID: endpoint.String(), CreatedAfter: n.Since, CreatedBefore: n.Until,
	}}, n.Priority)
}

func retryOf(f JobFilter, priority *int) spec {
	s := spec{Action: actRetry, Filter: f, Priority: queue.LowestPriority}
	if priority != nil {
		s.Priority = *priority
	}
	return s
}

func readSpec(op bulk.Operation) (spec, error) {
	var s spec
	if err := json.Unmarshal([]byte(op.Spec), &s); err != nil {
		return spec{}, fmt.Errorf("read what operation %s was asked for: %w", op.ID, err)
	}
	return s, nil
}

// show makes the shown form of an operation.
func show(op bulk.Operation) (Operation, error) {
	s, err := readSpec(op)
	if err != nil {
		return Operation{}, err
	}
	o := Operation{
		ID: op.ID, Tenant: op.Tenant, Action: s.Action, State: op.State, Filter: s.Filter, Priority: s.Priority, Rate: op.Rate,
		Total: op.Total, Done: op.Done, Jobs: op.Made, Skipped: op.Skipped, LastError: op.LastError,
		CreatedAt: op.CreatedAt.UTC(), StartedAt: pg.UTC(op.StartedAt), FinishedAt: pg.UTC(op.FinishedAt),
	}
	if id, err := uuid.Parse(op.Position); err == nil {
		at := queue.IDTime(id).UTC()
		o.Position = &at
	}
	return o, nil
}
