package rules

import (
	"strings"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Outcome is what an action makes of an event that the pattern matches.
type Outcome struct {
	Kind           string   `json:"kind"`
	MakesJob       bool     `json:"makes_job" doc:"Whether it makes a job, if only one that is failed from the start"`
	Condition      *bool    `json:"condition,omitempty" doc:"What the condition comes to; absent when there is none, or it fails"`
	ConditionError string   `json:"condition_error,omitempty" doc:"Why the condition fails, which is as if it were false"`
	Error          string   `json:"error,omitempty" doc:"Why the job is failed from the start"`
	Job            *Preview `json:"job,omitempty" doc:"The job, where it is only tried"`
}

// Preview is a job that would be made.
type Preview struct {
	Queue          string       `json:"queue"`
	Priority       int          `json:"priority"`
	Delay          string       `json:"delay"`
	MaxAttempts    int          `json:"max_attempts"`
	Timeout        string       `json:"timeout"`
	OrderingKey    string       `json:"ordering_key,omitempty"`
	OnFailure      string       `json:"on_failure,omitempty" enum:"block,skip"`
	IdempotencyKey string       `json:"idempotency_key,omitempty"`
	Payload        httpapi.JSON `json:"payload,omitempty" doc:"Absent when the job works on the event itself"`
}

// outcomes gives what each action makes of an event.
func (r *ready) outcomes(kinds *jobs.Registry, event func() *expression.Event, bodies *webhooks.Subscribers) []Outcome {
	all := make([]Outcome, len(r.actions))
	for n := range r.actions {
		a := &r.actions[n]
		all[n].Kind = a.Kind
		holds, err := r.holds(n, event)
		switch {
		case err != nil:
			all[n].ConditionError = err.Error()
			continue
		case a.condition != nil:
			all[n].Condition = &holds
		}
		if !holds {
			continue
		}
		job := r.job(kinds, n, event, bodies)
		_, key, _ := strings.Cut(job.Once, "\n")
		all[n].MakesJob, all[n].Error = true, job.Unmade
		if job.Unmade == "" {
			all[n].Job = &Preview{
				Queue: job.Queue, Priority: job.Priority, Delay: job.Delay.String(), MaxAttempts: job.MaxAttempts, Timeout: job.Timeout.String(),
				OrderingKey: job.OrderingKey, OnFailure: a.OnFailure, IdempotencyKey: key, Payload: job.Payload,
			}
		}
	}
	return all
}

// Trial is actions to try without a rule.
type Trial struct{ rule *ready }

// NewTrial compiles actions, and gives their mistakes but for those of endpoints: an
// action that is tried need not have one.
func NewTrial(kinds *jobs.Registry, actions []Action) (*Trial, []fault.Detail) {
	all, mistakes := compileStored(actions)
	if len(mistakes) == 0 {
		mistakes = checkEach(actions, func(a Action) []fault.Detail {
			if _, isKnown := kinds.Get(a.Kind); !isKnown {
				return nil
			}
			return checkPayload(kinds, a)
		})
	}
	return &Trial{&ready{Rule: Rule{ID: uuid.Nil, Name: "test"}, actions: all}}, mistakes
}

// Try gives what the actions make of the explainer's event. Transforms of endpoints are
// not among it.
func (t *Trial) Try(kinds *jobs.Registry, x *Explainer) []Outcome {
	return t.rule.outcomes(kinds, x.view, nil)
}
