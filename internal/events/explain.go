package events

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/rules"
)

// Tried is what a pattern, and the actions of a rule, make of an event.
type Tried struct {
	rules.Explanation
	Actions []rules.Outcome `json:"actions,omitempty" nullable:"false" doc:"What each action makes of the event, in their order; absent when the pattern does not match"`
}

// Tester tries rules on events.
type Tester struct {
	Kinds  *jobs.Registry // may be without kinds, whose payloads are then not checked
	Tenant string         // of an event that does not say
	Limits rules.Limits
}

// Test says what a pattern and actions, which may be absent, make of an event that is
// written as for POST /events. Nothing is stored. The mistakes have pointers below
// /pattern, /event and /actions.
func (t Tester) Test(rawPattern, rawEvent httpapi.JSON, actions []rules.Action) (Tried, []fault.Detail) {
	p, mistakes := rules.Compile(rawPattern)
	n, wrong := readEvent(rawEvent, t.Limits.Event)
	mistakes = append(mistakes, wrong...)
	trial, wrong := rules.NewTrial(t.Kinds, actions)
	if mistakes = append(mistakes, wrong...); len(mistakes) > 0 {
		return Tried{}, mistakes
	}
	tenant := t.Tenant
	if n.Tenant != "" {
		tenant = n.Tenant
	}
	e := n.event(tenant)
	x := rules.NewExplainer(e.envelope(), n.CloudEvent.View(n.Data), t.Limits)
	why, ok := x.Explain(p)
	if !ok {
		return Tried{}, []fault.Detail{{
			Pointer: "/event/data",
			Detail: fmt.Sprintf("would take too long with this pattern, whose $or make many combinations; send at most %d bytes, or a part of the pattern",
				t.Limits.Work/p.Weight()),
		}}
	}
	tried := Tried{Explanation: why}
	if why.Matched {
		tried.Actions = trial.Try(t.Kinds, x)
	}
	return tried, nil
}

// readEvent reads an event, which may be a CloudEvent in structured mode, as strictly
// as POST /events does. most bounds its bytes,
// unless it is 0.
func readEvent(raw httpapi.JSON, most int) (NewEvent, []fault.Detail) {
	if most > 0 && len(raw) > most {
		return NewEvent{}, []fault.Detail{{Pointer: "/event", Detail: fmt.Sprintf("is larger than %d bytes; send less of it", most)}}
	}
	// Bytes that come from a file may be anything.
	_, err := pattern.ParseEvent(raw)
	if problems, ok := errors.AsType[pattern.Problems](err); ok && problems[0].Pointer == "" {
		return NewEvent{}, []fault.Detail{{Pointer: "/event", Detail: problems[0].Detail}}
	}
	var n NewEvent
	var mistakes []fault.Detail
	if fields, _ := httpapi.SplitObject(raw); fields["specversion"] != nil {
		item := readItem(raw)
		n, mistakes = item.Value, item.Mistakes
		if item.Fault != nil {
			mistakes = slices.Clone(item.Fault.Details)
		}
	} else {
		n, mistakes = httpapi.ObjectDecoder[NewEvent]()(raw)
	}
	for i := range mistakes {
		mistakes[i].Pointer = "/event" + mistakes[i].Pointer
	}
	return n, mistakes
}

// maxJobs is how many jobs of an event are shown with it.
const maxJobs = 100

// explain gives an event with what came of it and what the rules and endpoints make of it
// now, and its data apart.
func explain(ctx context.Context, q pg.Querier, kinds *jobs.Registry, id uuid.UUID) (Explained, httpapi.JSON, error) {
	e, err := get(ctx, q, id)
	if err != nil {
		return Explained{}, nil, err
	}
	made, err := jobs.List(ctx, q, jobs.Filter{EventID: id.String(), Ascending: true, Limit: maxJobs + 1})
	if err != nil {
		return Explained{}, nil, err
	}
	data := httpapi.JSON(e.view())
	x := Explained{Listed: e.Listed, Jobs: made}
	if data == nil && e.Data != nil {
		x.Base64 = base64.StdEncoding.EncodeToString(e.Data)
	}
	switch {
	case made == nil:
		x.Jobs = []jobs.Record{}
	case len(made) > maxJobs:
		x.Jobs, x.MoreJobs = made[:maxJobs], "/jobs?event_id="+id.String()
	}
	explainer := rules.NewExplainer(e.envelope(), data, rules.OfRequest)
	if x.Rules, x.MoreRules, err = rules.Verdicts(ctx, q, kinds, e.Tenant, explainer); err != nil {
		return Explained{}, nil, err
	}
	if x.Endpoints, x.MoreEndpoints, err = endpointVerdicts(ctx, q, &e.Listed, explainer); err != nil {
		return Explained{}, nil, err
	}
	if e.ErasedAt == nil {
		if x.Schema, err = eventtypes.CheckOne(ctx, q, e.Tenant, e.Type, data); err != nil {
			return Explained{}, nil, err
		}
	}
	return x, data, nil
}
