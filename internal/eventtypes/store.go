package eventtypes

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// row is a type as the table has it, with the number of its newest version.
type row struct {
	Tenant      string    `db:"tenant"`
	Type        string    `db:"type"`
	Description string    `db:"description"`
	Mode        Mode      `db:"mode"`
	Enforced    *int      `db:"enforced"`
	RetentionMS *int64    `db:"retention_ms"`
	Newest      int       `db:"newest"`
	CreatedAt   time.Time `db:"created_at"`
	UpdatedAt   time.Time `db:"updated_at"`
}

const columns = `tenant, type, description, mode, enforced, retention_ms, created_at, updated_at, (
    SELECT coalesce(max(version), 0) FROM signalstack.event_type_versions AS v WHERE v.tenant = t.tenant AND v.type = t.type
) AS newest`

func (r row) settings() TypeSettings {
	s := TypeSettings{
		Description: r.Description, Mode: r.Mode, Newest: r.Newest, Retention: sayRetention(r.RetentionMS),
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if r.Enforced != nil {
		s.Enforced = *r.Enforced
	}
	return s
}

// insert registers a type, with its first version where it has a schema.
func insert(ctx context.Context, q pg.Querier, n NewEventType, tenant string) error {
	mode := Mode(n.Mode)
	if mode == "" {
		mode = Warn
	}
	retention, _ := parseRetention(n.Retention) // checked
	res, err := q.ExecContext(ctx, `
		INSERT INTO signalstack.event_types (tenant, type, description, mode, retention_ms, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, now(), now())
		ON CONFLICT DO NOTHING`, tenant, n.Type, n.Description, string(mode), retention)
	if err != nil {
		return fmt.Errorf("insert event type: %w", err)
	}
	if inserted, err := res.RowsAffected(); err != nil || inserted == 0 {
		return errors.Join(err, fault.New(fault.Conflict, "event_type_exists",
			"The event type %s of tenant %s is registered already; change it with PATCH, or add a schema with POST .../versions.", n.Type, tenant))
	}
	if n.Schema == nil {
		return nil
	}
	return insertVersion(ctx, q, tenant, n.Type, 1, NewSchemaVersion{n.Schema, n.Example})
}

func insertVersion(ctx context.Context, q pg.Querier, tenant, eventType string, version int, n NewSchemaVersion) error {
	var example any
	if n.Example != nil {
		example = string(n.Example)
	}
	_, err := q.ExecContext(ctx, `
		INSERT INTO signalstack.event_type_versions (tenant, type, version, id, schema, example, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, now())`, tenant, eventType, version, uuid.Must(uuid.NewV7()), string(n.Schema), example)
	if err != nil {
		return fmt.Errorf("insert version of event type: %w", err)
	}
	return nil
}

// find gives a registered type; lock keeps others from changing it until the
// transaction ends.
func find(ctx context.Context, q pg.Querier, tenant, eventType string, lock bool) (row, error) {
	query := `SELECT ` + columns + ` FROM signalstack.event_types AS t WHERE tenant = $1 AND type = $2`
	if lock {
		query += ` FOR UPDATE`
	}
	var r row
	err := q.GetContext(ctx, &r, query, tenant, eventType)
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, fault.New(fault.NotFound, "event_type_not_found", "Nobody registered the event type %q of tenant %s; POST /event-types does.", eventType, tenant)
	}
	if err != nil {
		return row{}, fmt.Errorf("get event type: %w", err)
	}
	return r, nil
}

func get(ctx context.Context, q pg.Querier, tenant, eventType string) (EventType, error) {
	r, err := find(ctx, q, tenant, eventType, false)
	if err != nil {
		return EventType{}, err
	}
	t := EventType{Type: r.Type, Tenant: r.Tenant, TypeSettings: r.settings(), Versions: []SchemaVersion{}}
	var rows []struct {
		SchemaVersion
		Text  string         `db:"text"`
		Model sql.NullString `db:"model"`
	}
	err = q.SelectContext(ctx, &rows, `
		SELECT version, schema AS text, example AS model, created_at FROM signalstack.event_type_versions
		WHERE tenant = $1 AND type = $2 ORDER BY version`, tenant, eventType)
	if err != nil {
		return EventType{}, fmt.Errorf("get versions of event type: %w", err)
	}
	for _, v := range rows {
		v.Schema = httpapi.JSON(v.Text)
		if v.Model.Valid {
			v.Example = httpapi.JSON(v.Model.String)
		}
		t.Versions = append(t.Versions, v.SchemaVersion)
	}
	return t, nil
}

func update(ctx context.Context, q pg.Querier, r row) error {
	_, err := q.ExecContext(ctx, `
		UPDATE signalstack.event_types SET description = $3, mode = $4, enforced = $5, retention_ms = $6, updated_at = now()
		WHERE tenant = $1 AND type = $2`, r.Tenant, r.Type, r.Description, string(r.Mode), r.Enforced, r.RetentionMS)
	if err != nil {
		return fmt.Errorf("update event type: %w", err)
	}
	return nil
}

func remove(ctx context.Context, q pg.Querier, tenant, eventType string) error {
	res, err := q.ExecContext(ctx, `DELETE FROM signalstack.event_types WHERE tenant = $1 AND type = $2`, tenant, eventType)
	if err != nil {
		return fmt.Errorf("delete event type: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		_, missing := find(ctx, q, tenant, eventType, false)
		return errors.Join(err, missing)
	}
	return nil
}

// registered gives up to limit types by type and tenant, by their bytes, after the
// given ones.
func registered(ctx context.Context, q pg.Querier, tenant string, after key, limit int) ([]row, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.event_types AS t
		WHERE ($1 = '' OR tenant = $1) AND (type COLLATE "C", tenant COLLATE "C") > ($2, $3)
		ORDER BY type COLLATE "C", tenant COLLATE "C"
		LIMIT $4`, tenant, after.Type, after.Tenant, limit)
	if err != nil {
		return nil, fmt.Errorf("list event types: %w", err)
	}
	return rows, nil
}

// lookBack bounds the events of a type that are looked at for the newest one of a
// tenant.
const lookBack = 200

// lastSeen gives the time of the newest event of each type, where it is among the
// newest few of its name in all tenants: one step of the index events_type each.
func lastSeen(ctx context.Context, q pg.Querier, types []*ListedType) error {
	var tenants, names pq.StringArray
	for _, t := range types {
		tenants, names = append(tenants, t.Tenant), append(names, t.Type)
	}
	var rows []struct {
		I  int       `db:"i"`
		At time.Time `db:"received_at"`
	}
	err := q.SelectContext(ctx, &rows, `
		SELECT t.i::int, e.received_at
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t (tenant, type, i)
		CROSS JOIN LATERAL (
		    SELECT n.received_at FROM (
		        SELECT tenant, received_at FROM signalstack.events WHERE type = t.type ORDER BY id DESC LIMIT $3
		    ) AS n
		    WHERE n.tenant = t.tenant LIMIT 1
		) AS e`, tenants, names, lookBack)
	if err != nil {
		return fmt.Errorf("find newest events: %w", err)
	}
	for _, r := range rows {
		types[r.I-1].LastSeen = &r.At
	}
	return nil
}
