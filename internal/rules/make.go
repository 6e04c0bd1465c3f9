package rules

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// job is what an action makes of an event; the event's own part is for the caller to
// fill in. What goes wrong leaves a job that is failed from the start and says why:
// an event is not refused because of a rule, and no job is lost without a trace.
// event is called only by an action that looks at the event, or whose endpoint does.
func (r *ready) job(kinds *jobs.Registry, index int, event func() *expression.Event, bodies *webhooks.Subscribers) queue.NewJob {
	a := &r.actions[index]
	job := queue.NewJob{
		ID: uuid.Must(uuid.NewV7()), Tenant: r.Tenant, Kind: a.Kind, Payload: a.Payload,
		RuleID: uuid.NullUUID{UUID: r.ID, Valid: true}, EndpointID: a.endpoint(),
		OrderingKey: a.OrderingKey, Skips: a.OnFailure == jobs.OnFailureSkip,
	}
	options, once := a.Options, a.IdempotencyKey
	err := a.fill(event, &options, &job.OrderingKey, &once)
	if err == nil {
		job.Payload, err = a.makePayload(kinds, event, bodies)
	}
	if err != nil {
		job.Unmade = fmt.Sprintf("action %d of rule %q: %s", index, r.Name, err)
		// Nothing else may keep it from being written.
		job.Payload, job.OrderingKey, job.Skips, once, options = nil, "", false, "", plainOf(a)
	}
	if once != "" {
		job.Once = fmt.Sprintf("%s/%d\n%s", r.ID, index, once)
	}
	kinds.Fill(&job, options)
	return job
}

// endpoint gives where a webhook goes.
func (a *compiled) endpoint() uuid.NullUUID {
	if a.Kind != webhooks.KindName {
		return uuid.NullUUID{}
	}
	id, err := uuid.Parse(a.EndpointID)
	return uuid.NullUUID{UUID: id, Valid: err == nil}
}

// hasNoBody says whether a webhook is what its endpoint makes of the event.
func (a *compiled) hasNoBody() bool {
	return a.Kind == webhooks.KindName && a.transform == nil && a.Payload == nil
}

// plainOf gives the options without those that come from the event.
func plainOf(a *compiled) jobs.Options {
	options := a.Options
	if a.queue != nil {
		options.Queue = ""
	}
	if a.delay != nil {
		options.Delay = ""
	}
	return options
}

// fill takes from the event what has placeholders, and checks it as the API checks
// what is written.
func (a *compiled) fill(event func() *expression.Event, options *jobs.Options, orderingKey, once *string) error {
	for _, field := range []struct {
		name  string
		from  *expression.Text
		to    *string
		check func(string) []fault.Detail
	}{
		{"queue", a.queue, &options.Queue, func(string) []fault.Detail { return options.Validate() }},
		{"delay", a.delay, &options.Delay, func(string) []fault.Detail { return options.Validate() }},
		{"ordering_key", a.orderingKey, orderingKey, func(text string) []fault.Detail { return httpapi.CheckText("", text, jobs.MaxOrderingKey) }},
		{"idempotency_key", a.onceKey, once, checkOnce},
	} {
		if field.from == nil {
			continue
		}
		if field.name == "queue" && a.delay != nil {
			options.Delay = "" // has its own turn
		}
		text, err := field.from.For(event())
		if err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
		*field.to = text
		if wrong := field.check(text); len(wrong) > 0 {
			return fmt.Errorf("%s, which is %.100q here, %s", field.name, text, wrong[0].Detail)
		}
	}
	return nil
}

func checkOnce(text string) []fault.Detail {
	if wrong := idempotency.Check(text); wrong != "" {
		return []fault.Detail{{Detail: wrong}}
	}
	return nil
}

// makePayload gives the payload of the job.
func (a *compiled) makePayload(kinds *jobs.Registry, event func() *expression.Event, bodies *webhooks.Subscribers) ([]byte, error) {
	var made json.RawMessage
	var err error
	what := "transform"
	switch {
	case a.transform != nil:
		made, err = a.transform.Apply(event())
		if err == nil && a.Kind == email.KindName {
			made, err = email.WithData(json.RawMessage(a.Payload), made)
		}
	case a.payload != nil:
		what = "payload"
		made, err = a.payload.For(event())
	case a.hasNoBody():
		return bodies.Body(a.endpoint().UUID, event)
	default:
		return a.Payload, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if _, isKnown := kinds.Get(a.Kind); !isKnown || a.Kind == webhooks.KindName {
		return made, nil
	}
	if wrong := kinds.CheckKind(a.Kind, httpapi.JSON(made), jobs.Later{Event: true}); len(wrong) > 0 {
		return nil, fmt.Errorf("%s: kind %s refuses what it makes: %s %s", what, a.Kind, strings.TrimPrefix(strings.TrimPrefix(wrong[0].Pointer, "/payload"), "/"), wrong[0].Detail)
	}
	return made, nil
}
