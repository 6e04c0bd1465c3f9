package queues

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Rate is how many jobs may begin in a time.
type Rate struct {
	Count int    `json:"count" minimum:"1" maximum:"1000000" doc:"Jobs that may begin in each period"`
	Per   string `json:"per" doc:"The period, such as 1s or 1m" example:"1s"`
	Burst int    `json:"burst,omitempty" minimum:"1" maximum:"1000000" doc:"Jobs that may begin at once after a pause; default: count"`
}

// Bounds of a period.
const (
	minPeriod = time.Millisecond
	maxPeriod = 24 * time.Hour
)

// Check gives the mistakes that the schema does not know; nil is no rate and has none.
func (r *Rate) Check(pointer string) []fault.Detail {
	if r == nil {
		return nil
	}
	d, err := time.ParseDuration(r.Per)
	if err != nil || d < minPeriod || d > maxPeriod {
		return []fault.Detail{{Pointer: pointer + "/per", Detail: fmt.Sprintf("must be a duration such as 1s or 1m, from %s to %s", minPeriod, maxPeriod)}}
	}
	return nil
}

// Apply writes a rate into a control; nil is none.
func (r *Rate) Apply(c *queue.Control) {
	c.Rate, c.PeriodMS, c.Burst = nil, nil, nil
	if r == nil {
		return
	}
	d, _ := time.ParseDuration(r.Per) // checked
	ms, burst := max(1, d.Milliseconds()), r.Burst
	if burst == 0 {
		burst = r.Count
	}
	c.Rate, c.PeriodMS, c.Burst = &r.Count, &ms, &burst
}

func rateOf(c queue.Control) *Rate {
	if c.Rate == nil {
		return nil
	}
	return &Rate{Count: *c.Rate, Per: (time.Duration(*c.PeriodMS) * time.Millisecond).String(), Burst: *c.Burst}
}

// Queue is a queue as it is shown.
type Queue struct {
	Name          string     `json:"name"`
	Paused        bool       `json:"paused" doc:"Nothing of it is begun"`
	MaxRunning    *int       `json:"max_running,omitempty" doc:"How many of its jobs may run at once, in all workers together"`
	Rate          *Rate      `json:"rate,omitempty"`
	Waiting       int64      `json:"waiting" doc:"Jobs that have not ended and do not run"`
	Running       int64      `json:"running"`
	OldestReadyAt *time.Time `json:"oldest_ready_at,omitempty" doc:"Since when the job has waited for a worker that has done so longest"`
}

// QueuePatch changes the fields that it has.
type QueuePatch struct {
	Paused     *bool `json:"paused,omitempty" doc:"true: nothing of the queue is begun until it is false"`
	MaxRunning *int  `json:"max_running,omitempty" minimum:"0" maximum:"1000000" doc:"How many of its jobs may run at once, in all workers together; 0 ends the limit"`
	Rate       *Rate `json:"rate,omitempty" doc:"How many of its jobs may begin in a time"`
	NoRate     bool  `json:"no_rate,omitempty" doc:"true ends the rate limit"`
}

// Validate gives the mistakes that the schema does not know.
func (p QueuePatch) Validate() []fault.Detail {
	mistakes := p.Rate.Check("/rate")
	if p.NoRate && p.Rate != nil {
		mistakes = append(mistakes, fault.Detail{Pointer: "/no_rate", Detail: "must not stand beside rate; send one of them"})
	}
	return mistakes
}

func (p QueuePatch) apply(c *queue.Control) {
	if p.Paused != nil {
		c.Paused = *p.Paused
	}
	if p.MaxRunning != nil {
		if c.MaxRunning = p.MaxRunning; *p.MaxRunning == 0 {
			c.MaxRunning = nil
		}
	}
	if p.Rate != nil || p.NoRate {
		p.Rate.Apply(c)
	}
}

// Limit is what is set of one lane of a queue: a tenant's own, or that of one
// endpoint or limit key of it.
type Limit struct {
	Queue      string `json:"queue" minLength:"1" doc:"The queue"`
	Tenant     string `json:"tenant,omitempty" doc:"Whose jobs; default: the caller's"`
	EndpointID string `json:"endpoint_id,omitempty" format:"uuid" doc:"Webhooks to this endpoint only"`
	LimitKey   string `json:"limit_key,omitempty" maxLength:"255" doc:"Jobs with this limit_key only"`
	MaxRunning *int   `json:"max_running,omitempty" minimum:"1" maximum:"1000000" doc:"How many of them may run at once, in all workers together"`
	Rate       *Rate  `json:"rate,omitempty" doc:"How many of them may begin in a time"`
	Weight     int    `json:"weight,omitempty" minimum:"1" maximum:"100" doc:"Their share of the turns, beside lanes of weight 1; default 1"`
}

// Validate gives the mistakes that the schema does not know.
func (l Limit) Validate() []fault.Detail {
	mistakes := append(httpapi.CheckName("/queue", l.Queue), httpapi.CheckName("/tenant", l.Tenant)...)
	mistakes = append(mistakes, httpapi.CheckText("/limit_key", l.LimitKey, 255)...)
	if l.EndpointID != "" && l.LimitKey != "" {
		mistakes = append(mistakes, fault.Detail{Pointer: "/limit_key", Detail: "must not stand beside endpoint_id; a job is in one lane only"})
	}
	return append(mistakes, l.Rate.Check("/rate")...)
}

func (l Limit) lane() string {
	switch {
	case l.LimitKey != "":
		return queue.LaneOf(l.Tenant, l.LimitKey)
	case l.EndpointID != "":
		return l.Tenant + "/" + l.EndpointID
	}
	return l.Tenant
}

func (l Limit) control() queue.Control {
	c := queue.Control{Queue: l.Queue, Lane: l.lane(), MaxRunning: l.MaxRunning, Weight: max(1, l.Weight)}
	l.Rate.Apply(&c)
	return c
}

func limitOf(c queue.Control) Limit {
	l := Limit{Queue: c.Queue, MaxRunning: c.MaxRunning, Rate: rateOf(c), Weight: c.Weight}
	l.Tenant, l.EndpointID, l.LimitKey = queue.PartsOfLane(c.Lane)
	return l
}

// list gives every queue that has unfinished jobs or settings, by name.
func list(ctx context.Context, q pg.Querier) ([]Queue, error) {
	all := map[string]*Queue{}
	get := func(name string) *Queue {
		if all[name] == nil {
			all[name] = &Queue{Name: name}
		}
		return all[name]
	}
	unfinished, err := analytics.Unfinished(ctx, q)
	if err != nil {
		return nil, err
	}
	for name, n := range unfinished {
		if n > 0 {
			get(name).Waiting = n
		}
	}
	controls, err := queue.Controls(ctx, q)
	if err != nil {
		return nil, err
	}
	for name, lanes := range controls {
		if c, ok := lanes[""]; ok {
			shown := get(name)
			shown.Paused, shown.MaxRunning, shown.Rate = c.Paused, c.MaxRunning, rateOf(c)
		}
	}
	depths, err := queue.Depths(ctx, q)
	if err != nil {
		return nil, err
	}
	for name, d := range depths {
		shown := get(name)
		shown.Running, shown.OldestReadyAt = d.Running, d.OldestReadyAt
	}
	rows := make([]Queue, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		shown := *all[name]
		shown.Waiting = max(0, shown.Waiting-shown.Running)
		rows = append(rows, shown)
	}
	return rows, nil
}
