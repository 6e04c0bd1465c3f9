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

func (o *Ordering) line(endpoint uuid.UUID) (*line, error) {
	l := &line{endpoint: endpoint, skips: o.OnFailure == jobs.OnFailureSkip}
	if o.By == byEndpoint {
		return l, nil
	}
	by, err := expression.CompileText(o.By)
	if err != nil {
		return nil, fmt.Errorf("the order of endpoint %s %w", endpoint, err)
	}
	l.by = by
	return l, nil
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

// Lines are the orders of all endpoints that have one. They do not change.
type Lines struct{ byEndpoint map[uuid.UUID]*line }

// LoadLines gives the orders as q sees them. A stored one that does not compile here is
// none: events are accepted without it.
func LoadLines(ctx context.Context, q pg.Querier) (*Lines, error) {
	var rows []row
	// Few endpoints have one, and the text says which may.
	if err := q.SelectContext(ctx, &rows, `SELECT id, delivery FROM signalstack.endpoints WHERE delivery LIKE '%"ordering"%'`); err != nil {
		return nil, fmt.Errorf("load the orders of endpoints: %w", err)
	}
	lines := &Lines{byEndpoint: map[uuid.UUID]*line{}}
	for _, r := range rows {
		if l := r.line(); l != nil {
			lines.byEndpoint[r.ID] = l
		}
	}
	return lines, nil
}

// line gives the order of a stored endpoint, or nil.
func (r row) line() *line {
	var d Delivery
	if err := json.Unmarshal([]byte(r.Delivery), &d); err != nil || d.Ordering == nil {
		return nil
	}
	l, err := d.Ordering.line(r.ID)
	if err != nil {
		return nil
	}
	return l
}

// Order gives the jobs of an event that deliver to endpoints their places in the orders
// of these, where they have none of their own. event is called only where an order looks
// at the event.
func (l *Lines) Order(made []queue.NewJob, event func() *expression.Event) {
	if l == nil || len(l.byEndpoint) == 0 {
		return
	}
	for i := range made {
		if made[i].Kind != KindName || !made[i].EndpointID.Valid {
			continue
		}
		if line := l.byEndpoint[made[i].EndpointID.UUID]; line != nil {
			line.order(&made[i], event)
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
		l := r.line()
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
