package events

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

const columns = `id, tenant, type, source, subject, sender_id, time, received_at, content_type, data_schema, extensions, erased_at`

// filter narrows a list of events; zero fields do not.
type filter struct {
	tenant, eventType string
	from, before      string // ids; the first is part of the list, the second is not
	after             string // id of the last event of the page before
	ascending         bool
	limit             int
}

// list gives up to limit events in the order of their ids. The order is that of the
// primary key, and of the indexes by type and by tenant, so that a page is read from
// one of them however many events there are.
func list(ctx context.Context, q pg.Querier, f filter) ([]Listed, error) {
	order, beyond := "DESC", "id < $%d::uuid"
	if f.ascending {
		order, beyond = "ASC", "id > $%d::uuid"
	}
	where, args := []string{"true"}, []any{f.limit}
	for _, c := range []struct{ condition, value string }{
		{"tenant = $%d", f.tenant},
		{"type = $%d", f.eventType},
		{"id >= $%d::uuid", f.from},
		{"id < $%d::uuid", f.before},
		{beyond, f.after},
	} {
		if c.value != "" {
			args = append(args, c.value)
			where = append(where, fmt.Sprintf(c.condition, len(args)))
		}
	}
	var rows []Listed
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.events
		WHERE `+strings.Join(where, " AND ")+`
		ORDER BY id `+order+`
		LIMIT $1`, args...)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return rows, nil
}

// get gives one event and its data.
func get(ctx context.Context, q pg.Querier, id uuid.UUID) (Stored, error) {
	var row Stored
	err := q.GetContext(ctx, &row, `SELECT `+columns+`, opaque, data FROM signalstack.events WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Stored{}, fault.Missing("event", id.String())
	}
	if err != nil {
		return Stored{}, fmt.Errorf("get event: %w", err)
	}
	return row, nil
}

// Stored is an event as it is stored. Data is nil when it has none (any more).
type Stored struct {
	Listed
	Opaque bool   `db:"opaque"` // data are not JSON
	Data   []byte `db:"data"`
}

// view gives the data as JSON, or nothing.
func (s *Stored) view() []byte { return cloudevents.Attributes{Opaque: s.Opaque}.View(s.Data) }
