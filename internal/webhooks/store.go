package webhooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/sealed"
)

// row is an endpoint as the table has it.
type row struct {
	ID          uuid.UUID      `db:"id"`
	Tenant      string         `db:"tenant"`
	URL         string         `db:"url"`
	Description string         `db:"description"`
	Secret      []byte         `db:"secret"`
	EventTypes  pq.StringArray `db:"event_types"`
	Headers     []byte         `db:"headers"`
	Enabled     bool           `db:"enabled"`
	CreatedAt   time.Time      `db:"created_at"`
	UpdatedAt   time.Time      `db:"updated_at"`
}

const columns = `id, tenant, url, description, secret, event_types, headers, enabled, created_at, updated_at`

// target is an endpoint with its secrets in the clear, for those who deliver.
type target struct {
	Endpoint
	secret  string
	headers map[string]string
}

// Sealed values are bound to their row and column, so that one copied elsewhere
// does not open.
func secretContext(id uuid.UUID) string  { return "endpoint secret " + id.String() }
func headersContext(id uuid.UUID) string { return "endpoint headers " + id.String() }

func (r row) open(box *sealed.Box) (target, error) {
	t := target{Endpoint: Endpoint{
		ID: r.ID, Tenant: r.Tenant, URL: r.URL, Description: r.Description, EventTypes: r.EventTypes,
		Enabled: r.Enabled, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Headers: map[string]string{},
	}}
	if t.EventTypes == nil {
		t.EventTypes = []string{}
	}
	secret, err := box.Open(r.Secret, secretContext(r.ID))
	if err != nil {
		return target{}, fmt.Errorf("open the secret of endpoint %s: %w", r.ID, err)
	}
	t.secret = string(secret)
	headers, err := box.Open(r.Headers, headersContext(r.ID))
	if err != nil {
		return target{}, fmt.Errorf("open the headers of endpoint %s: %w", r.ID, err)
	}
	if err := json.Unmarshal(headers, &t.headers); err != nil {
		return target{}, fmt.Errorf("read the headers of endpoint %s: %w", r.ID, err)
	}
	for name := range t.headers {
		t.Headers[name] = hidden
	}
	return t, nil
}

// seal makes the row of a target.
func (t target) seal(box *sealed.Box) (row, error) {
	headers, err := json.Marshal(t.headers)
	if err != nil {
		return row{}, fmt.Errorf("write headers: %w", err)
	}
	return row{
		ID: t.ID, Tenant: t.Tenant, URL: t.URL, Description: t.Description, EventTypes: t.EventTypes, Enabled: t.Enabled,
		Secret: box.Seal([]byte(t.secret), secretContext(t.ID)), Headers: box.Seal(headers, headersContext(t.ID)),
	}, nil
}

func insert(ctx context.Context, q pg.Querier, box *sealed.Box, t target) (target, error) {
	r, err := t.seal(box)
	if err != nil {
		return target{}, err
	}
	err = q.GetContext(ctx, &r, `
		INSERT INTO signalstack.endpoints (id, tenant, url, description, secret, event_types, headers, enabled, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now(), now())
		RETURNING `+columns, r.ID, r.Tenant, r.URL, r.Description, r.Secret, r.EventTypes, r.Headers, r.Enabled)
	if err != nil {
		return target{}, fmt.Errorf("insert endpoint: %w", err)
	}
	return r.open(box)
}

func update(ctx context.Context, q pg.Querier, box *sealed.Box, t target) (target, error) {
	r, err := t.seal(box)
	if err != nil {
		return target{}, err
	}
	err = q.GetContext(ctx, &r, `
		UPDATE signalstack.endpoints
		SET url = $2, description = $3, secret = $4, event_types = $5, headers = $6, enabled = $7, updated_at = now()
		WHERE id = $1
		RETURNING `+columns, r.ID, r.URL, r.Description, r.Secret, r.EventTypes, r.Headers, r.Enabled)
	if errors.Is(err, sql.ErrNoRows) {
		return target{}, fault.Missing("endpoint", t.ID.String())
	}
	if err != nil {
		return target{}, fmt.Errorf("update endpoint: %w", err)
	}
	return r.open(box)
}

// get gives an endpoint; lock keeps others from changing it until the transaction
// ends.
func get(ctx context.Context, q pg.Querier, box *sealed.Box, id uuid.UUID, lock bool) (target, error) {
	query := `SELECT ` + columns + ` FROM signalstack.endpoints WHERE id = $1`
	if lock {
		query += ` FOR UPDATE`
	}
	var r row
	err := q.GetContext(ctx, &r, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return target{}, fault.Missing("endpoint", id.String())
	}
	if err != nil {
		return target{}, fmt.Errorf("get endpoint: %w", err)
	}
	return r.open(box)
}

func remove(ctx context.Context, q pg.Querier, id uuid.UUID) error {
	res, err := q.ExecContext(ctx, `DELETE FROM signalstack.endpoints WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("delete endpoint: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fault.Missing("endpoint", id.String()))
	}
	return nil
}

// list gives up to limit endpoints, oldest first, after the given id.
func list(ctx context.Context, q pg.Querier, box *sealed.Box, tenant, after string, limit int) ([]Endpoint, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.endpoints
		WHERE ($1 = '' OR tenant = $1) AND id > coalesce(nullif($2, '')::uuid, '00000000-0000-0000-0000-000000000000')
		ORDER BY id
		LIMIT $3`, tenant, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	endpoints := make([]Endpoint, len(rows))
	for i, r := range rows {
		t, err := r.open(box)
		if err != nil {
			return nil, err
		}
		endpoints[i] = t.Endpoint
	}
	return endpoints, nil
}

// CheckKey refuses a key that does not open the secrets that are stored, by the
// newest of them.
func (e *Endpoints) CheckKey(ctx context.Context) error {
	var r row
	err := e.DB.GetContext(ctx, &r, `SELECT `+columns+` FROM signalstack.endpoints ORDER BY updated_at DESC LIMIT 1`)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the secret key: %w", err)
	}
	if _, err := r.open(e.Box); errors.Is(err, sealed.ErrOtherKey) {
		return fmt.Errorf("SIGNALSTACK_SECRET_KEY is not the key that the secrets of endpoints were sealed with; set the one they were: %w", err)
	}
	return nil
}

// Known gives those of the ids that are endpoints of the tenant.
func Known(ctx context.Context, q pg.Querier, tenant string, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	known := map[uuid.UUID]bool{}
	if len(ids) == 0 {
		return known, nil
	}
	texts := make(pq.StringArray, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	var found []uuid.UUID
	err := q.SelectContext(ctx, &found, `SELECT id FROM signalstack.endpoints WHERE tenant = $1 AND id = ANY ($2::uuid[])`, tenant, texts)
	if err != nil {
		return nil, fmt.Errorf("find endpoints: %w", err)
	}
	for _, id := range found {
		known[id] = true
	}
	return known, nil
}
