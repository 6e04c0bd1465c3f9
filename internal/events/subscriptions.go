package events

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// EndpointVerdict is what the subscription of an endpoint makes of an event.
type EndpointVerdict struct {
	EndpointID     uuid.UUID     `json:"endpoint_id"`
	Enabled        bool          `json:"enabled" doc:"An endpoint that is not gets no webhooks, whether it matches or not"`
	Matched        *bool         `json:"matched,omitempty" doc:"Whether it takes the event; absent when its pattern was not looked at; error says why"`
	Reason         string        `json:"reason" doc:"What its event_types say"`
	Fields         []rules.Field `json:"fields" nullable:"false" doc:"Each list of its pattern, in its order; empty when it has none, or its event_types do not take the event"`
	FieldsLeftOut  int           `json:"fields_left_out,omitempty" doc:"How many more lists the pattern has; the answer would be too long with them"`
	Error          string        `json:"error,omitempty" doc:"Why the pattern was not looked at"`
	TransformError string        `json:"transform_error,omitempty" doc:"Why its transform makes no body of the event, which makes a job that is failed from the start"`
}

// maxEndpoints is how many endpoints one answer tells of.
const maxEndpoints = 100

// endpointVerdicts gives what the subscriptions of the event's tenant, as they are now,
// make of it: those of the oldest endpoints, and whether there are more.
func endpointVerdicts(ctx context.Context, q pg.Querier, e *Listed, x *rules.Explainer) (verdicts []EndpointVerdict, more bool, err error) {
	all, err := webhooks.Subscriptions(ctx, q, e.Tenant, maxEndpoints+1)
	if err != nil {
		return nil, false, err
	}
	if more = len(all) > maxEndpoints; more {
		all = all[:maxEndpoints]
	}
	verdicts = make([]EndpointVerdict, len(all))
	for i, s := range all {
		verdicts[i] = endpointVerdict(s, e, x)
	}
	return verdicts, more, nil
}

func endpointVerdict(s *webhooks.Subscriber, e *Listed, x *rules.Explainer) EndpointVerdict {
	matched := false
	v := EndpointVerdict{EndpointID: s.ID, Enabled: s.Enabled, Matched: &matched, Fields: []rules.Field{}}
	wanted := s.Wants(e.Type, e.Source)
	switch {
	case wanted == "" && e.Source == webhooks.SystemSource:
		v.Reason = "none of its event_types takes the type; events of the system are not covered by * or what begins with it"
		return v
	case wanted == "":
		v.Reason = "none of its event_types takes the type"
		return v
	}
	v.Reason = fmt.Sprintf("its event_types take it by %s", wanted)
	if s.PatternError != nil {
		v.Matched, v.Error = nil, "gets no events: its pattern does not compile here: "+s.PatternError.Error()
		return v
	}
	matched = true
	if s.Pattern != nil {
		why, ok := x.Explain(s.Pattern)
		if !ok {
			v.Matched, v.Error = nil, "would take too long with an event of this size; try its pattern with a smaller one, by POST /rules/test"
			return v
		}
		matched, v.Fields, v.FieldsLeftOut = why.Matched, why.Fields, why.FieldsLeftOut
	}
	if matched {
		if _, err := s.Body(x.Event); err != nil {
			v.TransformError = err.Error()
		}
	}
	return v
}
