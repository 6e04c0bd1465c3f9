package webhooks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/sealed"
)

// reader reads endpoints for attempts. Those that ask while a read is under way share
// the next one, which begins after they asked: each sees what was answered before it
// began, as if it had read alone, and a busy worker asks once for many.
type reader struct {
	db  pg.Querier
	box *sealed.Box

	mu      sync.Mutex
	reading bool
	waiting map[uuid.UUID][]chan<- found // for the next read
}

// found is what a read gave.
type found struct {
	target target
	err    error
}

// readTime bounds a read; the server ends its statement before.
const readTime = 10 * time.Second

// get gives an endpoint as it is now.
func (r *reader) get(ctx context.Context, id uuid.UUID) (target, error) {
	answer := make(chan found, 1)
	r.mu.Lock()
	if r.waiting == nil {
		r.waiting = map[uuid.UUID][]chan<- found{}
	}
	r.waiting[id] = append(r.waiting[id], answer)
	if !r.reading {
		r.reading = true
		go r.run(context.WithoutCancel(ctx)) // for others too, who have their own time
	}
	r.mu.Unlock()
	select {
	case f := <-answer:
		return f.target, f.err
	case <-ctx.Done():
		return target{}, fmt.Errorf("read endpoint %s: %w", id, context.Cause(ctx))
	}
}

// run reads until nobody waits.
func (r *reader) run(ctx context.Context) {
	for {
		r.mu.Lock()
		asked := r.waiting
		r.waiting = nil
		if r.reading = len(asked) > 0; !r.reading {
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		r.answer(ctx, asked)
	}
}

// answer reads what was asked for. An endpoint that cannot be opened is the matter of
// those alone who asked for it.
func (r *reader) answer(ctx context.Context, asked map[uuid.UUID][]chan<- found) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	ids := make(pq.StringArray, 0, len(asked))
	for id := range asked {
		ids = append(ids, id.String())
	}
	var rows []rowWithHealth
	// By the primary keys of the three tables, one id after the other.
	err := r.db.SelectContext(pg.Kept(ctx), &rows, `
		SELECT `+qualified+`, `+healthColumns+` FROM unnest($1::uuid[]) AS a (id) JOIN signalstack.endpoints AS e ON e.id = a.id`+withHealth, ids)
	if err != nil {
		err = fmt.Errorf("read endpoints: %w", err)
	}
	got := make(map[uuid.UUID]found, len(rows))
	for _, row := range rows {
		t, err := row.open(r.box)
		got[row.ID] = found{target: t, err: err}
	}
	for id, waiting := range asked {
		f, ok := got[id]
		switch {
		case err != nil:
			f.err = err
		case !ok:
			f.err = fault.Missing("endpoint", id.String())
		}
		for _, answer := range waiting {
			answer <- f
		}
	}
}
