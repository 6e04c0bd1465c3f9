package jobs

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/queue"
)

// Options are what a job, and an action that makes jobs, may say of how it runs.
// What they leave out comes from the kind.
type Options struct {
	Queue       string  `json:"queue,omitempty" doc:"Named line of jobs that workers subscribe to; default: the kind's" example:"default"`
	Priority    *int    `json:"priority,omitempty" minimum:"1" maximum:"4" doc:"1 is served first, 4 last; default 2"`
	Delay       string  `json:"delay,omitempty" doc:"Wait before the first attempt, such as 90s or 1h30m" example:"5m"`
	MaxAttempts *int    `json:"max_attempts,omitempty" minimum:"1" maximum:"1000" doc:"How often the job is tried in all; default: the kind's"`
	Timeout     string  `json:"timeout,omitempty" doc:"How long one attempt may take, such as 15s; default: the kind's" example:"15s"`
	Retry       *Policy `json:"retry,omitempty" doc:"When a failed attempt is followed by the next; default: the kind's"`
}

// Bounds of what a job may say.
const (
	maxAhead   = 10 * 366 * 24 * time.Hour
	maxTimeout = 24 * time.Hour

	maxPriority = 4
	mostTries   = 1000
)

// unknownKind gives the limits of jobs whose kind only a newer binary knows: one
// that shares the database may have stored the rule that makes them.
var unknownKind = Kind{Timeout: time.Minute, MaxAttempts: 10}

// Validate gives every mistake, with pointers from the object that the options
// stand in.
func (o Options) Validate() []fault.Detail {
	mistakes := httpapi.CheckName("/queue", o.Queue)
	mistakes = append(mistakes, checkNumber("/priority", o.Priority, maxPriority)...)
	mistakes = append(mistakes, checkNumber("/max_attempts", o.MaxAttempts, mostTries)...)
	if o.Delay != "" {
		mistakes = append(mistakes, checkDuration("/delay", o.Delay, 0, maxAhead)...)
	}
	if o.Timeout != "" {
		mistakes = append(mistakes, checkDuration("/timeout", o.Timeout, time.Millisecond, maxTimeout)...)
	}
	if o.Retry != nil {
		for _, m := range o.Retry.Validate() {
			mistakes = append(mistakes, fault.Detail{Pointer: "/retry" + m.Pointer, Detail: m.Detail})
		}
	}
	return mistakes
}

// checkNumber repeats what the schema says, for options that were stored.
func checkNumber(pointer string, n *int, most int) []fault.Detail {
	if n == nil || 1 <= *n && *n <= most {
		return nil
	}
	return []fault.Detail{{Pointer: pointer, Detail: fmt.Sprintf("must be from 1 to %d", most)}}
}

func checkDuration(pointer, text string, least, most time.Duration) []fault.Detail {
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return []fault.Detail{{Pointer: pointer, Detail: fmt.Sprintf("must be a duration such as 90s or 1h30m, from %s to %s", least, most)}}
	}
	return nil
}

// apply fills a job from valid options and the defaults of its kind.
func (o Options) apply(kind Kind, job *queue.NewJob) {
	job.Queue = firstOf(o.Queue, kind.Queue, queue.DefaultQueue)
	if kind.External {
		job.Queue = queue.ExternalQueue(o.Queue)
	}
	job.Priority, job.MaxAttempts, job.Timeout = queue.DefaultPriority, kind.MaxAttempts, kind.Timeout
	if o.Priority != nil {
		job.Priority = *o.Priority
	}
	if o.MaxAttempts != nil {
		job.MaxAttempts = *o.MaxAttempts
	}
	if d, err := time.ParseDuration(o.Timeout); err == nil {
		job.Timeout = d
	}
	if d, err := time.ParseDuration(o.Delay); err == nil {
		job.Delay = d
	}
	if o.Retry != nil {
		if b, err := json.Marshal(o.Retry); err == nil {
			job.Retry = string(b)
		}
	}
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// Fill completes a job with options, which must be valid, and the defaults of its
// kind.
func (r *Registry) Fill(job *queue.NewJob, o Options) {
	kind, known := r.kinds[job.Kind]
	if !known {
		kind = unknownKind
	}
	o.apply(kind, job)
}
