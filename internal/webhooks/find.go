package webhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// Brief is what others need to know of an endpoint.
type Brief struct {
	ID      uuid.UUID `db:"id"`
	Tenant  string    `db:"tenant"`
	Enabled bool      `db:"enabled"`
}

// Find gives an endpoint in brief.
func Find(ctx context.Context, q pg.Querier, id uuid.UUID) (Brief, error) {
	var b Brief
	err := q.GetContext(ctx, &b, `SELECT id, tenant, enabled FROM signalstack.endpoints WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Brief{}, fault.Missing("endpoint", id.String())
	}
	if err != nil {
		return Brief{}, fmt.Errorf("find endpoint: %w", err)
	}
	return b, nil
}
