package webhooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Ordering is which webhooks of an endpoint follow one another.
type Ordering struct {
	By        string `json:"by" minLength:"1" maxLength:"1000" doc:"endpoint has all of them follow one another; a text with placeholders, those of the events for which it is the same. Events without that value have no order" example:"<$.data.customer.id>"`
	OnFailure string `json:"on_failure,omitempty" enum:"block,skip" doc:"What becomes of those behind one that is tried again: block has them wait until it is delivered or given up on (default), with skip they come when its first attempt has failed, and it is tried again beside them"`
}

// byEndpoint is the order of all webhooks of an endpoint.
const byEndpoint = "endpoint"

// check gives the mistakes of what a client sent, which may be nothing.
func (o *Ordering) check() []fault.Detail {
	if o == nil || o.By == byEndpoint {
		return nil
	}
	if !expression.HasPlaceholders(o.By) {
		return []fault.Detail{{Pointer: "/ordering/by", Detail: "must be endpoint, or a text with a placeholder such as <$.data.customer.id>"}}
	}
	if _, err := expression.CompileText(o.By); err != nil {
		return []fault.Detail{{Pointer: "/ordering/by", Detail: err.Error()}}
	}
	return nil
}

// line is the order of an endpoint, ready for use.
type line struct {
	endpoint uuid.UUID
	by       *expression.Text // nil: the whole endpoint
	skips    bool
}

// line makes the order of an endpoint ready for use. One that does not compile here is
// none: events are accepted without it.
func (o *Ordering) line(endpoint uuid.UUID) *line {
	if o == nil {
		return nil
	}
	l := &line{endpoint: endpoint, skips: o.OnFailure == jobs.OnFailureSkip}
	if o.By == byEndpoint {
		return l
	}
	by, err := expression.CompileText(o.By)
	if err != nil {
		return nil
	}
	l.by = by
	return l
}

// order gives a job for the endpoint its place, unless it has one of its own.
func (l *line) order(job *queue.NewJob, event func() *expression.Event) {
	if job.OrderingKey != "" || job.Unmade != "" {
		return
	}
	key := ""
	if l.by != nil {
		var err error
		if key, err = l.by.For(event()); err != nil || key == "" {
			return // this event has no such value
		}
	}
	job.OrderingKey, job.Skips = keyOf(l.endpoint, key), l.skips
}

// keyOf names the line of an endpoint, or that of one value there. It begins with the
// endpoint, so no two endpoints share a line, and a value that is no ordering key, as it
// is too long or has control characters, stands in it as its hash.
func keyOf(endpoint uuid.UUID, value string) string {
	whole := byEndpoint + "/" + endpoint.String()
	if value == "" {
		return whole
	}
	key := whole + "/" + value
	if len(httpapi.CheckText("", key, jobs.MaxOrderingKey)) > 0 {
		sum := sha256.Sum256([]byte(value))
		return whole + "#" + hex.EncodeToString(sum[:])
	}
	return key
}

// Order gives the jobs of an event that deliver to endpoints their places in the orders
// of these, where they have none of their own. event is called only where an order looks
// at the event.
func (s *Subscribers) Order(made []queue.NewJob, event func() *expression.Event) {
	if len(s.byID) == 0 {
		return
	}
	for i := range made {
		if made[i].Kind != KindName {
			continue
		}
		if to := s.byID[made[i].EndpointID.UUID]; to != nil && to.line != nil {
			to.line.order(&made[i], event)
		}
	}
}

// KnownInOrder gives those of the ids that are endpoints of the tenant, each with what
// gives a job without an event its place in the endpoint's order.
func KnownInOrder(ctx context.Context, q pg.Querier, tenant string, ids []uuid.UUID) (map[uuid.UUID]func(*queue.NewJob), error) {
	texts := make(pq.StringArray, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	var rows []row
	err := q.SelectContext(ctx, &rows, `SELECT id, delivery FROM signalstack.endpoints WHERE tenant = $1 AND id = ANY ($2::uuid[])`, tenant, texts)
	if err != nil {
		return nil, fmt.Errorf("find endpoints: %w", err)
	}
	known := make(map[uuid.UUID]func(*queue.NewJob), len(rows))
	for _, r := range rows {
		var d Delivery
		if err := json.Unmarshal([]byte(r.Delivery), &d); err != nil {
			return nil, fmt.Errorf("read how endpoint %s is delivered to: %w", r.ID, err)
		}
		l := d.Ordering.line(r.ID)
		known[r.ID] = func(job *queue.NewJob) {
			if l != nil {
				l.order(job, func() *expression.Event { return eventOfPayload(job) })
			}
		}
	}
	return known, nil
}

// eventOfPayload is what expressions see of a job that no event made: its payload is one.
func eventOfPayload(job *queue.NewJob) *expression.Event {
	var p payload
	_ = json.Unmarshal(job.Payload, &p) // checked
	env := pattern.Envelope{ID: job.ID.String(), Tenant: job.Tenant, Type: p.Type, Time: time.Now().UTC().Format(time.RFC3339Nano)}
	return expression.NewEvent(env, p.Data)
}
