package rules

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Limits bound what explaining an event may cost. Zero ones do not.
type Limits struct {
	Event int // bytes of an event that is sent to be tried
	Work  int // weight of the patterns times bytes of data and extensions
	Text  int // bytes of the fields that are told
}

// OfRequest are the limits of one request. The work takes a second or two at worst.
var OfRequest = Limits{Event: 64 << 10, Work: 16 << 20, Text: 1 << 20}

// maxVerdicts is how many rules one answer tells of.
const maxVerdicts = 100

// maxValue is how long a value may be, in bytes, to be shown.
const maxValue = 1000

// Explanation says whether a pattern wants an event, and why.
type Explanation struct {
	Matched       bool    `json:"matched"`
	Fields        []Field `json:"fields" nullable:"false" doc:"Each list of the pattern, in its order; where the pattern does not match, as the branches and elements of arrays that come closest have it"`
	FieldsLeftOut int     `json:"fields_left_out,omitempty" doc:"How many more lists the pattern has; the answer would be too long with them"`
}

// Field says what became of one list of a pattern.
type Field struct {
	Path    string       `json:"path" doc:"The list, as a JSON pointer from the pattern"`
	Matched bool         `json:"matched"`
	At      string       `json:"at,omitempty" doc:"The value that was looked at, as a JSON pointer from the event; absent when there is none"`
	Value   httpapi.JSON `json:"value,omitempty" doc:"That value; left out when it is an object or longer than 1,000 bytes"`
	Reason  string       `json:"reason" doc:"What in the list the value matches, or why it matches nothing"`
}

// Verdict is what a rule makes of an event.
type Verdict struct {
	RuleID        uuid.UUID `json:"rule_id"`
	Name          string    `json:"name"`
	Enabled       bool      `json:"enabled" doc:"A rule that is not makes no jobs, whether it matches or not"`
	Matched       *bool     `json:"matched,omitempty" doc:"Absent when the rule was not looked at; error says why"`
	Fields        []Field   `json:"fields" nullable:"false" doc:"Each list of the pattern, in its order"`
	FieldsLeftOut int       `json:"fields_left_out,omitempty" doc:"How many more lists the pattern has; the answer would be too long with them"`
	Actions       []Outcome `json:"actions,omitempty" nullable:"false" doc:"What each action makes of the event, in their order; absent when the pattern does not match"`
	Error         string    `json:"error,omitempty" doc:"Why the rule was not looked at"`
}

// Explainer explains what patterns make of one event until its limits are used up.
type Explainer struct {
	event  *pattern.Event
	view   func() *expression.Event
	size   int // bytes of data and extensions
	limits Limits
	work   int
	text   int
}

// NewExplainer makes an explainer of an event.
func NewExplainer(env pattern.Envelope, data []byte, limits Limits) *Explainer {
	e := pattern.NewEvent(env, data)
	return &Explainer{event: e, view: expression.Once(e), size: len(data) + len(env.Extensions), limits: limits}
}

// Event gives what expressions see of the event.
func (x *Explainer) Event() *expression.Event { return x.view() }

// Explain gives false when the pattern would take more work than is left.
func (x *Explainer) Explain(p *pattern.Pattern) (Explanation, bool) {
	work := p.Weight() * x.size
	if x.limits.Work > 0 && x.work+work > x.limits.Work {
		return Explanation{}, false
	}
	x.work += work
	why := p.Explain(x.event)
	out := Explanation{Matched: why.Matched, Fields: make([]Field, 0, len(why.Fields))}
	for i, f := range why.Fields {
		if len(f.Value) > maxValue {
			f.Value = ""
		}
		x.text += len(f.Path) + len(f.At) + len(f.Value) + len(f.Reason)
		if x.limits.Text > 0 && x.text > x.limits.Text {
			out.FieldsLeftOut = len(why.Fields) - i
			break
		}
		out.Fields = append(out.Fields, Field{Path: f.Path, Matched: f.Matched, At: f.At, Value: httpapi.JSON(f.Value), Reason: f.Reason})
	}
	return out, true
}

// Verdicts gives what a tenant's rules, as they are now, make of the event: the
// oldest of them, and whether there are more.
func Verdicts(ctx context.Context, q pg.Querier, kinds *jobs.Registry, tenant string, x *Explainer) (verdicts []Verdict, more bool, err error) {
	var rows []row
	err = q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.rules
		WHERE tenant = $1
		ORDER BY id
		LIMIT $2`, tenant, maxVerdicts+1)
	if err != nil {
		return nil, false, fmt.Errorf("list rules to explain: %w", err)
	}
	if more = len(rows) > maxVerdicts; more {
		rows = rows[:maxVerdicts]
	}
	verdicts = make([]Verdict, len(rows))
	all := make([]*ready, len(rows))
	var usable []*ready
	for i, r := range rows {
		verdicts[i] = Verdict{RuleID: r.ID, Name: r.Name, Enabled: r.Enabled, Fields: []Field{}}
		if all[i], err = r.compile(); err != nil {
			verdicts[i].Error = "makes no jobs: " + err.Error()
			continue
		}
		usable = append(usable, all[i])
	}
	bodies, err := webhooks.LoadNamed(ctx, q, slog.New(slog.DiscardHandler), tenant, endpointsOf(usable))
	if err != nil {
		return nil, false, err
	}
	for i, rule := range all {
		if rule != nil {
			verdicts[i] = rule.verdict(verdicts[i], kinds, x, bodies)
		}
	}
	return verdicts, more, nil
}

func (r *ready) verdict(v Verdict, kinds *jobs.Registry, x *Explainer, bodies *webhooks.Subscribers) Verdict {
	why, ok := x.Explain(r.pattern)
	if !ok {
		v.Error = "would take too long with an event of this size; try it with a smaller one, by POST /rules/test"
		return v
	}
	v.Matched, v.Fields, v.FieldsLeftOut = &why.Matched, why.Fields, why.FieldsLeftOut
	if why.Matched {
		v.Actions = r.outcomes(kinds, x.view, bodies)
		for i := range v.Actions {
			v.Actions[i].Job = nil // the event's jobs are shown as they were made
		}
	}
	return v
}
