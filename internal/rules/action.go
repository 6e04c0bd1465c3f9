package rules

import (
	"bytes"
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
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Action is the template of one job.
type Action struct {
	jobs.Options
	Kind           string       `json:"kind" minLength:"1" doc:"What the job does" example:"webhook"`
	EndpointID     string       `json:"endpoint_id,omitempty" format:"uuid" doc:"Where a webhook goes; needed for kind webhook and for no other"`
	Condition      string       `json:"condition,omitempty" maxLength:"4096" doc:"CEL expression over event that must be true beside the pattern, such as event.data.amount > 100 && has(event.subject). One that fails is not true" example:"event.data.amount > 100"`
	Transform      string       `json:"transform,omitempty" maxLength:"8192" doc:"jq program that makes the payload of the event: the whole body of a webhook, the data of an email, and else all that the kind works on. It must give one result" example:"{text: \"Order \\(.data.id)\"}"`
	Payload        httpapi.JSON `json:"payload,omitempty" doc:"What the kind works on, beside the event; of a webhook the body in place of the event. In its texts <$.data.name> stands for a value of the event, but for kind email, which has templates of its own"`
	OrderingKey    string       `json:"ordering_key,omitempty" maxLength:"1000" doc:"Jobs of one tenant with this key run one after the other; may hold placeholders" example:"order-<$.data.id>"`
	OnFailure      string       `json:"on_failure,omitempty" enum:"block,skip" doc:"What becomes of the jobs behind it in its ordering_key while it is tried again, as in POST /jobs; default block"`
	IdempotencyKey string       `json:"idempotency_key,omitempty" maxLength:"1000" doc:"This action makes one job for all events with this key, for as long as keys are kept; may hold placeholders" example:"welcome-<$.data.user_id>"`
}

// compiled is an action that is ready to make jobs. What it does not use is nil.
type compiled struct {
	Action
	condition                          *expression.Condition
	transform                          *expression.Transform
	payload                            *expression.Payload
	queue, delay, orderingKey, onceKey *expression.Text
}

// compiler gathers what is wrong with an action.
type compiler struct{ mistakes []fault.Detail }

func (c *compiler) add(pointer, format string, args ...any) {
	c.mistakes = append(c.mistakes, fault.Detail{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

// text compiles a field that has placeholders.
func (c *compiler) text(pointer, source string) *expression.Text {
	if !expression.HasPlaceholders(source) {
		return nil
	}
	t, err := expression.CompileText(source)
	if err != nil {
		c.add(pointer, "%s", err)
	}
	return t
}

// compile gives the mistakes that need neither the kinds nor the database, with
// pointers from the action.
func (a Action) compile() (compiled, []fault.Detail) {
	c := &compiler{}
	out := compiled{
		Action: a, queue: c.text("/queue", a.Queue), delay: c.text("/delay", a.Delay),
		orderingKey: c.text("/ordering_key", a.OrderingKey), onceKey: c.text("/idempotency_key", a.IdempotencyKey),
	}
	options := a.Options
	if out.queue != nil {
		options.Queue = ""
	}
	if out.delay != nil {
		options.Delay = ""
	}
	c.mistakes = append(c.mistakes, options.Validate()...)
	if out.orderingKey == nil {
		c.mistakes = append(c.mistakes, httpapi.CheckText("/ordering_key", a.OrderingKey, jobs.MaxOrderingKey)...)
	}
	c.mistakes = append(c.mistakes, jobs.CheckOnFailure(a.OnFailure, a.OrderingKey)...)
	if wrong := idempotency.Check(a.IdempotencyKey); out.onceKey == nil && a.IdempotencyKey != "" && wrong != "" {
		c.add("/idempotency_key", "%s", wrong)
	}
	var err error
	if a.Condition != "" {
		if out.condition, err = expression.CompileCondition(a.Condition); err != nil {
			c.add("/condition", "%s", err)
		}
	}
	if a.Transform != "" {
		if out.transform, err = expression.CompileTransform(a.Transform); err != nil {
			c.add("/transform", "%s", err)
		}
	}
	out.payload = c.payload(a)
	return out, c.mistakes
}

// payload compiles a payload that has placeholders.
func (c *compiler) payload(a Action) *expression.Payload {
	switch {
	case a.Kind == email.KindName && a.Transform != "":
		c.letter(a.Payload)
	case a.Payload != nil && a.Transform != "":
		c.add("/transform", "must not stand beside a payload, which it makes; send one of them")
	case a.Kind != email.KindName && bytes.Contains(a.Payload, []byte("$.")):
		p, pointer, err := expression.CompilePayload(a.Payload)
		if err != nil {
			c.add("/payload"+pointer, "%s", err)
		}
		return p
	}
	return nil
}

// letter looks at the payload that a transform makes the data of.
func (c *compiler) letter(payload httpapi.JSON) {
	var values map[string]json.RawMessage
	if json.Unmarshal(payload, &values) != nil || values == nil {
		c.add("/payload", "is required for kind email: the letter. The transform makes the data that its templates see")
	} else if values["data"] != nil {
		c.add("/payload/data", "must be absent, as the transform makes it")
	}
}

// Validate gives the mistakes that need neither the kinds nor the database.
func (a Action) Validate() []fault.Detail {
	_, mistakes := a.compile()
	return mistakes
}

// checkWritten gives the mistakes of actions that a client sent.
func checkWritten(actions []Action) []fault.Detail {
	return checkEach(actions, Action.Validate)
}

// compileStored compiles stored actions. The mistakes would keep their jobs from
// being written, and with them every event that the rule matches. A kind that this
// binary does not know is none: a newer one may.
func compileStored(actions []Action) ([]compiled, []fault.Detail) {
	var all []compiled
	mistakes := checkEach(actions, func(a Action) []fault.Detail {
		c, mistakes := a.compile()
		all = append(all, c)
		mistakes = append(mistakes, httpapi.CheckText("/kind", a.Kind, maxKind)...)
		if a.Kind == "" {
			mistakes = append(mistakes, fault.Detail{Pointer: "/kind", Detail: "is required"})
		}
		return mistakes
	})
	return all, mistakes
}

// maxKind is longer than the name of any kind, in characters.
const maxKind = 255

// checkActions gives the mistakes of kinds, payloads and endpoints. known are the
// tenant's endpoints among those the actions name.
func checkActions(kinds *jobs.Registry, actions []Action, known map[uuid.UUID]bool) []fault.Detail {
	return checkEach(actions, func(a Action) []fault.Detail {
		if a.Kind == webhooks.KindName {
			return checkEndpoint(a, known)
		}
		found := append(checkPayload(kinds, a), kinds.CheckQueue(a.Kind, a.Queue)...)
		if a.EndpointID != "" && a.Kind != "" {
			found = append(found, fault.Detail{Pointer: "/endpoint_id", Detail: "goes with kind webhook only; remove it"})
		}
		return found
	})
}

// checkPayload gives the mistakes of a payload that do not depend on an event. Those
// that do are found when there is one.
func checkPayload(kinds *jobs.Registry, a Action) []fault.Detail {
	c, _ := a.compile()
	made := c.transform != nil && a.Kind != email.KindName
	var found []fault.Detail
	for _, m := range kinds.CheckKind(a.Kind, a.Payload, jobs.Later{Event: true}) {
		at, inPayload := strings.CutPrefix(m.Pointer, "/payload")
		if !inPayload || !made && (c.payload == nil || !c.payload.Fills(at)) {
			found = append(found, m)
		}
	}
	return found
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
