package schedules

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// ScheduleAction is what each fire makes: an event or a job.
type ScheduleAction struct {
	Event *EventTemplate `json:"event,omitempty" doc:"An event, which rules and subscriptions see as any other"`
	Job   *JobTemplate   `json:"job,omitempty" doc:"In place of an event: a job"`
}

// EventTemplate is an event in which placeholders stand for values of the fire.
type EventTemplate struct {
	Type    string       `json:"type" minLength:"1" doc:"What happens" example:"report.due"`
	Data    httpapi.JSON `json:"data,omitempty" doc:"Any JSON value; in its texts <$.schedule.fire_time>, <$.schedule.id> and <$.schedule.name> stand for values of the fire. Default: an object with these in schedule"`
	Source  string       `json:"source,omitempty" doc:"Where it happens; default: /schedules/ and the id"`
	Subject string       `json:"subject,omitempty" doc:"What it happens to; may hold placeholders"`
}

// JobTemplate is a job in which placeholders stand for values of the fire.
type JobTemplate struct {
	jobs.Options
	Kind        string       `json:"kind" minLength:"1" doc:"What the job does" example:"http"`
	Payload     httpapi.JSON `json:"payload,omitempty" doc:"What the kind works on; in its texts <$.schedule.fire_time>, <$.schedule.id> and <$.schedule.name> stand for values of the fire"`
	OrderingKey string       `json:"ordering_key,omitempty" maxLength:"255" doc:"Jobs of one tenant with this key run one after the other"`
	LimitKey    string       `json:"limit_key,omitempty" maxLength:"255" doc:"Gives the jobs a lane that they share with others of this key"`
}

// scope is what placeholders may name.
var scope = expression.Scope{What: "a schedule's action", Names: []string{"schedule"}}

// values are those of a fire.
func values(id uuid.UUID, name string, at time.Time) map[string]any {
	return map[string]any{"schedule": map[string]any{
		"id": id.String(), "name": name, "fire_time": at.UTC().Format(time.RFC3339Nano),
	}}
}

// newJob makes the job of a fire as a client would write it.
func (j *JobTemplate) newJob(with map[string]any) (jobs.NewJob, []fault.Detail) {
	n := jobs.NewJob{Options: j.Options, Kind: j.Kind, OrderingKey: j.OrderingKey, LimitKey: j.LimitKey}
	var wrong []fault.Detail
	n.Payload, wrong = filled("/payload", j.Payload, with)
	return n, append(wrong, n.Validate()...)
}

// newEvent makes the event of a fire as a client would write it.
func (e *EventTemplate) newEvent(id uuid.UUID, at time.Time, with map[string]any) (events.NewEvent, []fault.Detail) {
	n := events.NewEvent{Type: e.Type, Source: e.Source, Time: at.UTC().Format(time.RFC3339Nano)}
	if n.Source == "" {
		n.Source = "/schedules/" + id.String()
	}
	var wrong []fault.Detail
	if n.Data, wrong = filled("/data", e.Data, with); n.Data == nil && len(wrong) == 0 {
		n.Data, _ = json.Marshal(with) // texts only
	}
	subject, err := scope.CompileText(e.Subject)
	if err == nil {
		n.Subject, err = subject.For(expression.Values(with))
	}
	if err != nil {
		wrong = append(wrong, fault.Detail{Pointer: "/subject", Detail: err.Error()})
	}
	return n, append(wrong, n.Validate()...)
}

// filled puts the values of a fire into JSON.
func filled(pointer string, source httpapi.JSON, with map[string]any) (httpapi.JSON, []fault.Detail) {
	if len(source) == 0 {
		return nil, nil
	}
	p, at, err := scope.CompilePayload(source)
	if err != nil {
		return nil, []fault.Detail{{Pointer: pointer + at, Detail: err.Error()}}
	}
	made, err := p.For(expression.Values(with))
	if err != nil {
		return nil, []fault.Detail{{Pointer: pointer, Detail: err.Error()}}
	}
	return httpapi.JSON(made), nil
}

// check gives the mistakes of an action by making what a fire at a time would.
func (a ScheduleAction) check(kinds *jobs.Registry, id uuid.UUID, name string, at time.Time) ([]fault.Detail, uuid.NullUUID) {
	with := values(id, name, at)
	switch {
	case a.Event != nil && a.Job != nil:
		return []fault.Detail{{Pointer: "/action/job", Detail: "must not stand beside event; send one of them"}}, uuid.NullUUID{}
	case a.Event != nil:
		_, wrong := a.Event.newEvent(id, at, with)
		return below("/action/event", wrong), uuid.NullUUID{}
	case a.Job == nil:
		return []fault.Detail{{Pointer: "/action", Detail: "must have event or job"}}, uuid.NullUUID{}
	}
	n, wrong := a.Job.newJob(with)
	if wrong = append(wrong, kinds.CheckKind(n.Kind, n.Payload, jobs.Later{})...); len(wrong) > 0 {
		return below("/action/job", wrong), uuid.NullUUID{}
	}
	return nil, kinds.Build(n, "").EndpointID
}

func below(pointer string, wrong []fault.Detail) []fault.Detail {
	for i := range wrong {
		wrong[i].Pointer = pointer + wrong[i].Pointer
	}
	return wrong
}

// build makes what a fire makes, or says why it cannot.
func (f *fire) build(kinds *jobs.Registry) error {
	a := f.of.action
	with := values(f.of.ID, f.of.Name, f.at)
	var wrong []fault.Detail
	if a.Event != nil {
		f.event = &events.Made{ID: uuid.Must(uuid.NewV7()), Tenant: f.of.Tenant}
		f.event.Event, wrong = a.Event.newEvent(f.of.ID, f.at, with)
		f.eventID = uuid.NullUUID{UUID: f.event.ID, Valid: true}
	} else if a.Job != nil {
		var n jobs.NewJob
		n, wrong = a.Job.newJob(with)
		if wrong = append(wrong, kinds.CheckKind(n.Kind, n.Payload, jobs.Later{})...); len(wrong) == 0 {
			job := kinds.Build(n, f.of.Tenant)
			job.ScheduleID = uuid.NullUUID{UUID: f.of.ID, Valid: true}
			f.job, f.jobID, f.jobs = &job, uuid.NullUUID{UUID: job.ID, Valid: true}, []uuid.UUID{job.ID}
		}
	}
	if len(wrong) > 0 {
		f.job, f.event, f.jobs, f.jobID, f.eventID = nil, nil, nil, uuid.NullUUID{}, uuid.NullUUID{}
		return fmt.Errorf("the action cannot be carried out any more: %s %s", wrong[0].Pointer, wrong[0].Detail)
	}
	return nil
}

// fire is one on its way.
type fire struct {
	of             *row
	at, due        time.Time
	manual         bool
	state, detail  string
	job            *queue.NewJob
	event          *events.Made
	jobID, eventID uuid.NullUUID
	jobs           []uuid.UUID // that it made
}
