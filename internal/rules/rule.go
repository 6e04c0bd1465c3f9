package rules

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Action is the template of one job.
type Action struct {
	jobs.Options
	Kind       string       `json:"kind" minLength:"1" doc:"What the job does" example:"webhook"`
	EndpointID string       `json:"endpoint_id,omitempty" format:"uuid" doc:"Where a webhook goes; needed for kind webhook and for no other"`
	Payload    httpapi.JSON `json:"payload,omitempty" doc:"What the kind works on, beside the event"`
}

// NewRule is what a client may say of a rule.
type NewRule struct {
	Name    string       `json:"name" minLength:"1" doc:"For people"`
	Pattern httpapi.JSON `json:"pattern" doc:"Event pattern in the manner of EventBridge: an object of fields, each with the list of values it may have"`
	Actions []Action     `json:"actions" minItems:"1" maxItems:"20" doc:"Each makes one job for each event that matches"`
	Enabled *bool        `json:"enabled,omitempty" doc:"Default true"`
	Tenant  string       `json:"tenant,omitempty" doc:"Whose events it looks at; default: the caller's"`
}

// RulePatch changes the fields that it has.
type RulePatch struct {
	Name    *string      `json:"name,omitempty" minLength:"1"`
	Pattern httpapi.JSON `json:"pattern,omitempty"`
	Actions []Action     `json:"actions,omitempty" minItems:"1" maxItems:"20" doc:"Replaces all actions"`
	Enabled *bool        `json:"enabled,omitempty"`
}

// Rule is a rule as it is stored and shown.
type Rule struct {
	ID        uuid.UUID    `json:"id"`
	Tenant    string       `json:"tenant"`
	Name      string       `json:"name"`
	Pattern   httpapi.JSON `json:"pattern"`
	Actions   []Action     `json:"actions"`
	Enabled   bool         `json:"enabled"`
	CreatedAt time.Time    `json:"created_at"`
	UpdatedAt time.Time    `json:"updated_at"`
}

// Validate gives the mistakes that need neither the kinds nor the database.
func (n NewRule) Validate() []fault.Detail {
	mistakes := append(httpapi.CheckText("/name", n.Name, 200), httpapi.CheckName("/tenant", n.Tenant)...)
	if n.Pattern != nil {
		_, wrong := Compile(n.Pattern)
		mistakes = append(mistakes, wrong...)
	}
	return append(mistakes, checkOptions(n.Actions)...)
}

// Validate gives the mistakes that need neither the kinds nor the database.
func (p RulePatch) Validate() []fault.Detail {
	var mistakes []fault.Detail
	if p.Name != nil {
		mistakes = httpapi.CheckText("/name", *p.Name, 200)
	}
	if p.Pattern != nil {
		_, wrong := Compile(p.Pattern)
		mistakes = append(mistakes, wrong...)
	}
	return append(mistakes, checkOptions(p.Actions)...)
}

// Compile reads a pattern that stands in the field of that name, and gives its
// mistakes.
func Compile(raw httpapi.JSON) (*pattern.Pattern, []fault.Detail) {
	p, err := pattern.Compile(raw)
	if err == nil {
		return p, nil
	}
	problems, ok := errors.AsType[pattern.Problems](err)
	if !ok {
		return nil, []fault.Detail{{Pointer: "/pattern", Detail: err.Error()}}
	}
	mistakes := make([]fault.Detail, len(problems))
	for i, p := range problems {
		mistakes[i] = fault.Detail{Pointer: "/pattern" + p.Pointer, Detail: p.Detail}
	}
	return nil, mistakes
}

// checkEach gives the mistakes that check finds in each action, with pointers from
// the rule.
func checkEach(actions []Action, check func(Action) []fault.Detail) []fault.Detail {
	var mistakes []fault.Detail
	for i, a := range actions {
		for _, m := range check(a) {
			mistakes = append(mistakes, fault.Detail{Pointer: fmt.Sprintf("/actions/%d%s", i, m.Pointer), Detail: m.Detail})
		}
	}
	return mistakes
}

func checkOptions(actions []Action) []fault.Detail {
	return checkEach(actions, func(a Action) []fault.Detail { return a.Validate() })
}

// checkStored gives the mistakes of stored actions that would keep their jobs from
// being written, and with them every event that the rule matches. A kind that this
// binary does not know is none: a newer one may.
func checkStored(actions []Action) []fault.Detail {
	return checkEach(actions, func(a Action) []fault.Detail {
		mistakes := append(a.Validate(), httpapi.CheckText("/kind", a.Kind, maxKind)...)
		if a.Kind == "" {
			mistakes = append(mistakes, fault.Detail{Pointer: "/kind", Detail: "is required"})
		}
		return mistakes
	})
}

// maxKind is longer than the name of any kind, in characters.
const maxKind = 255

// checkActions gives the mistakes of kinds, payloads and endpoints. known are the
// tenant's endpoints among those the actions name.
func checkActions(kinds *jobs.Registry, actions []Action, known map[uuid.UUID]bool) []fault.Detail {
	return checkEach(actions, func(a Action) []fault.Detail {
		if a.Kind == webhooks.KindName {
			return append(checkEndpoint(a, known), checkWebhookPayload(a)...)
		}
		found := kinds.CheckKind(a.Kind, a.Payload, true)
		if a.EndpointID != "" && a.Kind != "" {
			found = append(found, fault.Detail{Pointer: "/endpoint_id", Detail: "goes with kind webhook only; remove it"})
		}
		return found
	})
}

func checkEndpoint(a Action, known map[uuid.UUID]bool) []fault.Detail {
	id, err := uuid.Parse(a.EndpointID)
	switch {
	case a.EndpointID == "":
		return []fault.Detail{{Pointer: "/endpoint_id", Detail: "is required for kind webhook"}}
	case err != nil || !known[id]:
		return []fault.Detail{{Pointer: "/endpoint_id", Detail: "names no endpoint of this tenant; create it with POST /endpoints first"}}
	}
	return nil
}

func checkWebhookPayload(a Action) []fault.Detail {
	if a.Payload == nil {
		return nil
	}
	return []fault.Detail{{Pointer: "/payload", Detail: "must be absent: a webhook delivers the event itself"}}
}
