package webhooks

import (
	"fmt"
	"slices"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/queues"
)

// Delivery is how an endpoint wants to be delivered to. What it leaves out has a
// default. A job with a retry policy of its own goes by that.
type Delivery struct {
	Timeout     string       `json:"timeout,omitempty" doc:"How long one attempt may take, from 1s to 1m; default 15s" example:"15s"`
	Retry       *jobs.Policy `json:"retry,omitempty" doc:"When a failed attempt is followed by the next; default: the ladder of Standard Webhooks, over three days"`
	MaxAttempts int          `json:"max_attempts,omitempty" minimum:"1" maximum:"1000" doc:"How often a webhook is tried; default 10"`
	MaxAge      string       `json:"max_age,omitempty" doc:"No attempt begins when a webhook is older than this, from 1m to 720h; default: no limit" example:"24h"`
	RateLimit   *queues.Rate `json:"rate_limit,omitempty" doc:"How many attempts may begin in a time, in all workers together"`
	MaxInFlight int          `json:"max_in_flight,omitempty" minimum:"1" maximum:"10000" doc:"How many attempts may run at once, in all workers together"`
	Ordering    *Ordering    `json:"ordering,omitempty" doc:"Has webhooks delivered one after the other, in the order in which their events were accepted; default: as they come. Changes hold for events from then on"`
	Batch       *Batch       `json:"batch,omitempty" doc:"Several events in one request; default: one"`
}

// DeliveryPatch changes the fields that it has.
type DeliveryPatch struct {
	Timeout     *string      `json:"timeout,omitempty"`
	Retry       *jobs.Policy `json:"retry,omitempty"`
	MaxAttempts *int         `json:"max_attempts,omitempty" minimum:"1" maximum:"1000"`
	MaxAge      *string      `json:"max_age,omitempty"`
	RateLimit   *queues.Rate `json:"rate_limit,omitempty"`
	MaxInFlight *int         `json:"max_in_flight,omitempty" minimum:"1" maximum:"10000"`
	Ordering    *Ordering    `json:"ordering,omitempty"`
	Batch       *Batch       `json:"batch,omitempty"`
	Reset       []string     `json:"reset,omitempty" nullable:"false" enum:"timeout,retry,max_attempts,max_age,rate_limit,max_in_flight,ordering,batch,pattern,transform" doc:"Fields that go back to their default, which of pattern and transform is none"`
}

// Bounds of what an endpoint may ask for.
const (
	defaultTimeout = 15 * time.Second
	minTimeout     = time.Second
	maxTimeout     = time.Minute
	minAge         = time.Minute
	maxAge         = 720 * time.Hour
)

// Validate gives the mistakes that the schema does not know.
func (d Delivery) Validate() []fault.Detail {
	mistakes := checkDuration("/timeout", d.Timeout, minTimeout, maxTimeout)
	mistakes = append(mistakes, checkDuration("/max_age", d.MaxAge, minAge, maxAge)...)
	mistakes = append(mistakes, d.RateLimit.Check("/rate_limit")...)
	mistakes = append(mistakes, d.Ordering.check()...)
	mistakes = append(mistakes, d.Batch.check()...)
	if d.Retry != nil {
		for _, m := range d.Retry.Validate() {
			mistakes = append(mistakes, fault.Detail{Pointer: "/retry" + m.Pointer, Detail: m.Detail})
		}
	}
	return mistakes
}

func checkDuration(pointer, text string, least, most time.Duration) []fault.Detail {
	if text == "" {
		return nil
	}
	if d, err := time.ParseDuration(text); err != nil || d < least || d > most {
		return []fault.Detail{{Pointer: pointer, Detail: fmt.Sprintf("must be a duration such as 15s or 24h, from %s to %s", least, most)}}
	}
	return nil
}

// Validate gives the mistakes that the schema does not know.
func (p DeliveryPatch) Validate() []fault.Detail {
	var d Delivery
	p.apply(&d)
	mistakes := d.Validate()
	for field, given := range map[string]bool{
		"timeout": p.Timeout != nil, "retry": p.Retry != nil, "max_attempts": p.MaxAttempts != nil,
		"max_age": p.MaxAge != nil, "rate_limit": p.RateLimit != nil, "max_in_flight": p.MaxInFlight != nil,
		"ordering": p.Ordering != nil,
		"batch":    p.Batch != nil,
	} {
		if given && slices.Contains(p.Reset, field) {
			mistakes = append(mistakes, fault.Detail{Pointer: "/reset", Detail: "must not name " + field + ", which is given as well"})
		}
	}
	return mistakes
}

func (p DeliveryPatch) apply(d *Delivery) {
	for _, field := range p.Reset {
		switch field {
		case "timeout":
			d.Timeout = ""
		case "retry":
			d.Retry = nil
		case "max_attempts":
			d.MaxAttempts = 0
		case "max_age":
			d.MaxAge = ""
		case "rate_limit":
			d.RateLimit = nil
		case "max_in_flight":
			d.MaxInFlight = 0
		case "ordering":
			d.Ordering = nil
		case "batch":
			d.Batch = nil
		}
	}
	set(&d.Timeout, p.Timeout)
	set(&d.MaxAttempts, p.MaxAttempts)
	set(&d.MaxAge, p.MaxAge)
	set(&d.MaxInFlight, p.MaxInFlight)
	if p.Retry != nil {
		d.Retry = p.Retry
	}
	if p.RateLimit != nil {
		d.RateLimit = p.RateLimit
	}
	if p.Ordering != nil {
		d.Ordering = p.Ordering
	}
	if p.Batch != nil {
		d.Batch = p.Batch
	}
}

// set changes a field that a patch has.
func set[T any](field, given *T) {
	if given != nil {
		*field = *given
	}
}

// override is what the endpoint decides about a webhook that has no retry policy of
// its own.
func (d Delivery) override() jobs.Override {
	age, _ := time.ParseDuration(d.MaxAge) // checked; 0 when absent
	return jobs.Override{Retry: d.Retry, MaxAttempts: d.MaxAttempts, MaxAge: age}
}

// control is the limit of the endpoint's lane, in all queues.
func (d Delivery) control(lane string) queue.Control {
	c := queue.Control{Queue: queue.AnyQueue, Lane: lane, Weight: 1}
	d.RateLimit.Apply(&c)
	if d.MaxInFlight > 0 {
		c.MaxRunning = &d.MaxInFlight
	}
	return c
}
