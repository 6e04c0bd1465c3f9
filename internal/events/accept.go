package events

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// acceptance is an event on its way in, with the jobs that some version of the
// routes makes of it.
type acceptance struct {
	event   Event
	data    []byte
	opaque  bool           // data are not JSON
	view    []byte         // data as JSON: what patterns see
	made    []queue.NewJob // what the routes make
	jobs    []queue.NewJob // those of them that are to be written
	version int64          // of the routes that made the jobs
	refusal error          // why the event may not be stored, by those routes
}

// Acceptor takes events in.
type Acceptor struct {
	router *router
	intake *intake.Intake[*acceptance]
}

// NewAcceptor makes an acceptor; Run must run for events to be accepted.
func NewAcceptor(db *pg.DB, cfg intake.Config, kinds *jobs.Registry, log *slog.Logger) *Acceptor {
	a := &Acceptor{router: newRouter(kinds, log)}
	a.intake = intake.New(db, cfg, intake.Steps[*acceptance]{
		First:   versionSQL,
		Prepare: a.router.prepare,
		Refuse:  func(x *acceptance) error { return x.refusal },
		Resolve: func(ctx context.Context, tx *sqlx.Tx, fresh []*acceptance) error {
			return resolve(ctx, tx, fresh, cfg.KeyTTL)
		},
		Render: func(x *acceptance) []byte { return x.render() },
		Write:  write,
		Bytes:  (*acceptance).bytes,
		IDs:    (*acceptance).ids,
	})
	return a
}

// Run commits events until ctx ends and nobody waits.
func (a *Acceptor) Run(ctx context.Context) { a.intake.Run(ctx) }

// begin makes the event of a valid NewEvent and matches it, outside any
// transaction: the crowd of callers does that in parallel.
func (a *Acceptor) begin(n NewEvent, tenant string) *acceptance {
	x := &acceptance{data: n.Data, opaque: n.CloudEvent.Opaque, view: n.CloudEvent.View(n.Data), event: Event{Listed: n.event(tenant)}}
	a.router.match(a.router.current.Load(), x)
	return x
}

func (r *router) match(rt *routes, x *acceptance) {
	x.version, x.made = rt.version, nil
	if rt.guard.check(x); x.refusal == nil {
		x.made = r.jobsFor(rt, x)
	}
}

// prepare dates the events and routes anew those that older routes matched.
func (r *router) prepare(ctx context.Context, tx *sqlx.Tx, batch []*acceptance) error {
	now, rt, err := r.refresh(ctx, tx)
	if err != nil {
		return fmt.Errorf("refresh routes: %w", err)
	}
	for _, x := range batch {
		if x.version != rt.version {
			r.match(rt, x)
		}
		x.event.ReceivedAt = now.UTC()
		x.take(x.made)
	}
	return nil
}

// take says which jobs are to be written.
func (x *acceptance) take(made []queue.NewJob) {
	x.jobs, x.event.JobIDs = made, make([]uuid.UUID, len(made))
	for i, j := range made {
		x.event.JobIDs[i] = j.ID
	}
}

func (x *acceptance) render() []byte {
	b, err := json.Marshal(x.event)
	if err != nil {
		panic("events: a checked event does not marshal: " + err.Error())
	}
	return b
}

// What an event and a job take in memory beside the data, about.
const (
	eventBytes = 1 << 10
	jobBytes   = 512
)

// bytes of memory that the event takes until it is answered. The payload of an action
// belongs to the rule, but is copied for each job when it is written.
func (x *acceptance) bytes() int {
	n := eventBytes + len(x.data)
	for i := range x.jobs {
		n += jobBytes + len(x.jobs[i].Payload)
	}
	return n
}

func (x *acceptance) ids() []uuid.UUID {
	return append([]uuid.UUID{x.event.ID}, x.event.JobIDs...)
}

// write stores events, their jobs and their counts in one statement.
func write(ctx context.Context, tx *sqlx.Tx, fresh []*acceptance) error {
	n := 0
	for _, x := range fresh {
		n += len(x.jobs)
	}
	made := make([]queue.NewJob, 0, n)
	deltas := make([]analytics.Delta, 0, len(fresh)+n)
	for _, x := range fresh {
		deltas = append(deltas, analytics.Delta{Fact: analytics.EventAccepted, Tenant: x.event.Tenant, Type: x.event.Type})
		if len(x.event.Warnings) > 0 {
			deltas = append(deltas, analytics.Delta{Fact: analytics.EventWarned, Tenant: x.event.Tenant, Type: x.event.Type})
		}
		made = append(made, x.jobs...)
	}
	if err := jobs.WriteWith(ctx, tx, []pg.Write{inserting(fresh)}, made, deltas...); err != nil {
		return fmt.Errorf("store %d events: %w", len(fresh), err)
	}
	return nil
}

// inserting is the statement that inserts events.
func inserting(fresh []*acceptance) pg.Write {
	n := len(fresh)
	text := func(of func(*Event) string) pg.Array {
		return pg.Texts(n, func(i int) string { return of(&fresh[i].event) })
	}
	opaque := make(pq.BoolArray, n)
	for i, x := range fresh {
		opaque[i] = x.opaque
	}
	return pg.Write{
		SQL: `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at,
		                                content_type, data_schema, extensions, opaque, data)
		SELECT id, tenant, type, source, subject, sender_id, time, now(), content_type, data_schema, extensions, opaque, data
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
		            $8::text[], $9::text[], $10::text[], $11::boolean[], $12::bytea[])
		     AS e (id, tenant, type, source, subject, sender_id, time, content_type, data_schema, extensions, opaque, data)`,
		Args: []any{
			pg.UUIDs(n, func(i int) uuid.UUID { return fresh[i].event.ID }),
			text(func(e *Event) string { return e.Tenant }),
			text(func(e *Event) string { return e.Type }),
			text(func(e *Event) string { return e.Source }),
			text(func(e *Event) string { return e.Subject }),
			text(func(e *Event) string { return e.SenderID }),
			pg.Times(n, func(i int) time.Time { return fresh[i].event.Time }),
			text(func(e *Event) string { return e.ContentType }),
			text(func(e *Event) string { return e.DataSchema }),
			text(func(e *Event) string { return string(e.Extensions) }),
			opaque,
			pg.Blobs(n, func(i int) []byte { return fresh[i].data }),
		},
	}
}

// Scopes of the keys that protect an event.
const (
	keyScope = "events"
	idScope  = "events/id"
)

// keys are the reservations of one event: its idempotency key and its sender's id.
// Whoever sends an event again while its first sending is in flight waits for it: it
// is the same event, in whichever form and request it comes.
func keys(n NewEvent, tenant, key string, raw []byte) []idempotency.Reservation {
	var all []idempotency.Reservation
	if key != "" {
		all = append(all, idempotency.Reservation{
			Key: idempotency.Key{Tenant: tenant, Scope: keyScope, Key: key}, Fingerprint: idempotency.Fingerprint(raw),
		})
	}
	if n.ID != nil {
		all = append(all, idempotency.Reservation{
			Key:         idempotency.Key{Tenant: tenant, Scope: idScope, Key: n.Source + "\n" + *n.ID},
			Fingerprint: n.identity(), Waits: true,
		})
	}
	return all
}

// identity is what two events of one source and id are compared by: what happened,
// to what, and the data. Left out are the time and the extensions, which senders and
// those between write anew when they send again.
func (n NewEvent) identity() [sha256.Size]byte {
	data := []byte(n.Data)
	if !n.CloudEvent.Opaque && len(data) > 0 {
		var b bytes.Buffer
		if json.Compact(&b, data) == nil {
			data = b.Bytes()
		}
	}
	return idempotency.Fingerprint(slices.Concat([]byte(n.Type+"\x00"+n.Subject+"\x00"), data))
}
