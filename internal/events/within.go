package events

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/jobs"
)

// Writer stores events that another part of the product makes, with their jobs, in the
// transactions of that part: with what the event is made of they become durable, or do
// not.
type Writer struct {
	router *router
	ttl    time.Duration
}

// Made is an event to be stored. It is valid, and its id is a fresh UUIDv7.
type Made struct {
	ID     uuid.UUID
	Tenant string
	Event  NewEvent
}

// Outcome is what came of one: its jobs, or why its tenant or type refuses it.
type Outcome struct {
	JobIDs  []uuid.UUID
	Refusal error
}

// NewWriter makes a writer; ttl is how long the idempotency keys of actions are kept.
// It loads no routes before it needs some.
func NewWriter(kinds *jobs.Registry, ttl time.Duration, log *slog.Logger) *Writer {
	return &Writer{router: newRouter(kinds, log), ttl: ttl}
}

// Write routes and stores events in the caller's transaction. What is refused is not
// stored and holds up no other.
func (w *Writer) Write(ctx context.Context, tx *sqlx.Tx, all []Made) ([]Outcome, error) {
	if len(all) == 0 {
		return nil, nil
	}
	batch := make([]*acceptance, len(all))
	for i, m := range all {
		x := &acceptance{data: m.Event.Data, view: m.Event.Data, event: Event{Listed: m.Event.event(m.Tenant)}, version: -1}
		x.event.ID = m.ID
		batch[i] = x
	}
	if err := w.router.prepare(ctx, tx, batch); err != nil {
		return nil, err
	}
	var fresh []*acceptance
	for _, x := range batch {
		if x.refusal == nil {
			fresh = append(fresh, x)
		}
	}
	outcomes := make([]Outcome, len(all))
	if len(fresh) > 0 {
		if err := resolve(ctx, tx, fresh, w.ttl); err != nil {
			return nil, err
		}
		if err := write(ctx, tx, fresh); err != nil {
			return nil, err
		}
	}
	for i, x := range batch {
		outcomes[i] = Outcome{JobIDs: x.event.JobIDs, Refusal: x.refusal}
	}
	return outcomes, nil
}
