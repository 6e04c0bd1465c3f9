package tenants

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/signalstack/signalstack/internal/pg"
)

const columns = `tenant, name, max_event_bytes, created_at, updated_at`

// Load gives the limits as q sees them.
func Load(ctx context.Context, q pg.Querier) (Limits, error) {
	var rows []struct {
		Tenant string `db:"tenant"`
		Most   int64  `db:"max_event_bytes"`
	}
	err := q.SelectContext(ctx, &rows, `SELECT tenant, max_event_bytes FROM signalstack.tenants WHERE max_event_bytes IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("load limits of tenants: %w", err)
	}
	limits := make(Limits, len(rows))
	for _, r := range rows {
		limits[r.Tenant] = r.Most
	}
	return limits, nil
}

func set(ctx context.Context, q pg.Querier, tenant string, s Setting) (Tenant, error) {
	var t Tenant
	err := q.GetContext(ctx, &t, `
		INSERT INTO signalstack.tenants (tenant, name, max_event_bytes, created_at, updated_at) VALUES ($1, $2, $3, now(), now())
		ON CONFLICT (tenant) DO UPDATE SET name = excluded.name, max_event_bytes = excluded.max_event_bytes, updated_at = now()
		RETURNING `+columns, tenant, s.Name, s.MaxEventBytes)
	if err != nil {
		return Tenant{}, fmt.Errorf("set tenant: %w", err)
	}
	return t, nil
}

func get(ctx context.Context, q pg.Querier, tenant string) (Tenant, error) {
	var t Tenant
	err := q.GetContext(ctx, &t, `SELECT `+columns+` FROM signalstack.tenants WHERE tenant = $1`, tenant)
	if errors.Is(err, sql.ErrNoRows) {
		return Tenant{Tenant: tenant}, nil // it needs no making
	}
	if err != nil {
		return Tenant{}, fmt.Errorf("get tenant: %w", err)
	}
	return t, nil
}

// list gives up to limit tenants that have settings, by name, after the given one.
func list(ctx context.Context, q pg.Querier, after string, limit int) ([]Tenant, error) {
	var rows []Tenant
	err := q.SelectContext(ctx, &rows, `SELECT `+columns+` FROM signalstack.tenants WHERE tenant > $1 ORDER BY tenant LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return rows, nil
}
