package sources

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/sealed"
)

// row is a source as the tables have it.
type row struct {
	ID        uuid.UUID `db:"id"`
	Tenant    string    `db:"tenant"`
	Name      string    `db:"name"`
	Kind      string    `db:"kind"`
	Secrets   []byte    `db:"secrets"`
	HMAC      string    `db:"hmac"`
	Enabled   bool      `db:"enabled"`
	CreatedAt time.Time `db:"created_at"`
	UpdatedAt time.Time `db:"updated_at"`
	Counts
	Now time.Time `db:"now"`
}

const columns = `s.id, s.tenant, s.name, s.kind, s.secrets, s.hmac, s.enabled, s.created_at, s.updated_at, clock_timestamp() AS now`

// whole is how a source is read to be shown.
const whole = `
	SELECT ` + columns + `, c.accepted, c.duplicates, c.rejected, c.last_accepted_at, c.last_rejected_at, c.last_rejected_reason
	FROM signalstack.sources AS s JOIN signalstack.source_counts AS c ON c.source_id = s.id`

// secret is a secret in the clear.
type secret struct {
	Secret
	Value string `json:"value"`
}

// target is a source with its secrets in the clear, for those who verify.
type target struct {
	Source
	secrets []secret
	now     time.Time // of the database, when the source was read
}

// secretContext binds sealed secrets to their row and column, so that those copied
// elsewhere do not open.
func secretContext(id uuid.UUID) string { return "source secrets " + id.String() }

func (r row) open(box *sealed.Box) (target, error) {
	t := target{now: r.Now, Source: Source{
		ID: r.ID, Tenant: r.Tenant, Name: r.Name, Kind: r.Kind, Path: "/sources/" + r.ID.String(),
		Secrets: []Secret{}, Enabled: r.Enabled, Counts: r.Counts, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}}
	if r.HMAC != "" {
		if err := json.Unmarshal([]byte(r.HMAC), &t.HMAC); err != nil {
			return target{}, fmt.Errorf("read the signing of source %s: %w", r.ID, err)
		}
	}
	plain, err := box.Open(r.Secrets, secretContext(r.ID))
	if err != nil {
		return target{}, fmt.Errorf("open the secrets of source %s: %w", r.ID, err)
	}
	if err := json.Unmarshal(plain, &t.secrets); err != nil {
		return target{}, fmt.Errorf("read the secrets of source %s: %w", r.ID, err)
	}
	for _, s := range t.secrets {
		t.Secrets = append(t.Secrets, s.Secret)
	}
	return t, nil
}

// seal gives what the table keeps of secrets and signing.
func (t target) seal(box *sealed.Box) (secrets []byte, signing string, err error) {
	plain, err := json.Marshal(t.secrets)
	if err != nil {
		return nil, "", fmt.Errorf("write secrets: %w", err)
	}
	if t.HMAC != nil {
		text, err := json.Marshal(t.HMAC)
		if err != nil {
			return nil, "", fmt.Errorf("write signing: %w", err)
		}
		signing = string(text)
	}
	return box.Seal(plain, secretContext(t.ID)), signing, nil
}

// clock gives the time of the database.
func clock(ctx context.Context, q pg.Querier) (time.Time, error) {
	var now time.Time
	if err := q.GetContext(ctx, &now, `SELECT clock_timestamp()`); err != nil {
		return time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return now, nil
}

// insert stores a source and the row of its counts.
func insert(ctx context.Context, q pg.Querier, box *sealed.Box, t target) (target, error) {
	secrets, signing, err := t.seal(box)
	if err != nil {
		return target{}, err
	}
	var r row
	err = q.GetContext(ctx, &r, `
		WITH s AS (
		    INSERT INTO signalstack.sources (id, tenant, name, kind, secrets, hmac, enabled, created_at, updated_at)
		    VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now())
		    RETURNING *
		), c AS (
		    INSERT INTO signalstack.source_counts (source_id) SELECT id FROM s
		)
		SELECT `+columns+` FROM s`, t.ID, t.Tenant, t.Name, t.Kind, secrets, signing, t.Enabled)
	if err != nil {
		return target{}, fmt.Errorf("insert source: %w", err)
	}
	return r.open(box)
}

// update stores a source that is locked.
func update(ctx context.Context, q pg.Querier, box *sealed.Box, t target) (target, error) {
	secrets, signing, err := t.seal(box)
	if err != nil {
		return target{}, err
	}
	var r row
	err = q.GetContext(ctx, &r, `
		UPDATE signalstack.sources AS s SET name = $2, secrets = $3, hmac = $4, enabled = $5, updated_at = now()
		WHERE s.id = $1
		RETURNING `+columns, t.ID, t.Name, secrets, signing, t.Enabled)
	if err != nil {
		return target{}, fmt.Errorf("update source: %w", err)
	}
	r.Counts = t.Counts
	return r.open(box)
}

// get gives a source; lock keeps others from changing it until the transaction ends.
func get(ctx context.Context, q pg.Querier, box *sealed.Box, id uuid.UUID, lock bool) (target, error) {
	query := whole + ` WHERE s.id = $1`
	if lock {
		query += ` FOR UPDATE OF s`
	}
	return getBy(ctx, q, box, query, id)
}

// look gives what a delivery to a source needs, by one step in the primary key: the
// counts, which are written all the time, are left out.
func look(ctx context.Context, q pg.Querier, box *sealed.Box, id uuid.UUID) (target, error) {
	return getBy(ctx, q, box, `SELECT `+columns+` FROM signalstack.sources AS s WHERE s.id = $1`, id)
}

func getBy(ctx context.Context, q pg.Querier, box *sealed.Box, query string, id uuid.UUID) (target, error) {
	var r row
	err := q.GetContext(ctx, &r, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return target{}, fault.Missing("source", id.String())
	}
	if err != nil {
		return target{}, fmt.Errorf("get source: %w", err)
	}
	return r.open(box)
}

func remove(ctx context.Context, q pg.Querier, id uuid.UUID) error {
	res, err := q.ExecContext(ctx, `DELETE FROM signalstack.sources WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("delete source: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fault.Missing("source", id.String()))
	}
	return nil
}

// place is where in the list a page begins: after the source that was made then and
// has this id. The zero place is before all.
type place struct {
	at time.Time
	id uuid.UUID
}

// list gives up to limit sources, oldest first, along the index of that order.
func list(ctx context.Context, q pg.Querier, box *sealed.Box, tenant string, after place, limit int) ([]Source, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, whole+`
		WHERE ($1 = '' OR s.tenant = $1) AND (s.created_at, s.id) > ($2::timestamptz, $3::uuid)
		ORDER BY s.created_at, s.id
		LIMIT $4`, tenant, cmp.Or(after.text(), "-infinity"), after.id, limit)
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	sources := make([]Source, len(rows))
	for i, r := range rows {
		t, err := r.open(box)
		if err != nil {
			return nil, err
		}
		sources[i] = t.Source
	}
	return sources, nil
}

func (p place) text() string {
	if p.at.IsZero() {
		return ""
	}
	return p.at.UTC().Format(time.RFC3339Nano)
}

// CheckKey refuses a key that does not open the secrets that are stored, by the
// newest of them.
func (a *API) CheckKey(ctx context.Context) error {
	var r row
	err := a.db.GetContext(ctx, &r, `SELECT `+columns+` FROM signalstack.sources AS s ORDER BY s.updated_at DESC LIMIT 1`)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the secret key: %w", err)
	}
	if _, err := r.open(a.box); errors.Is(err, sealed.ErrOtherKey) {
		return fmt.Errorf("SIGNALSTACK_SECRET_KEY is not the key that the secrets of sources were sealed with; set the one they were: %w", err)
	}
	return nil
}
