package keys

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// channel is where changes are told of.
const channel = "signalstack_keys"

// row is a key as the table has it.
type row struct {
	ID         uuid.UUID      `db:"id"`
	Hash       []byte         `db:"hash"`
	Prefix     string         `db:"prefix"`
	Name       string         `db:"name"`
	Tenant     string         `db:"tenant"`
	Scopes     pq.StringArray `db:"scopes"`
	CreatedAt  time.Time      `db:"created_at"`
	ExpiresAt  *time.Time     `db:"expires_at"`
	LastUsedAt *time.Time     `db:"last_used_at"`
}

const columns = `id, hash, prefix, name, tenant, scopes, created_at, expires_at, last_used_at`

func (r row) show() Key {
	return Key{
		ID: r.ID, Prefix: r.Prefix, Name: r.Name, Scopes: r.Scopes, Tenant: r.Tenant,
		CreatedAt: r.CreatedAt.UTC(), ExpiresAt: pg.UTC(r.ExpiresAt), LastUsedAt: pg.UTC(r.LastUsedAt),
	}
}

// load gives all keys, those of before when nothing has changed since. The version is
// read first: what changes in between is loaded again.
func load(ctx context.Context, db *pg.DB, before *known) (*known, error) {
	var at struct {
		Version int64     `db:"version"`
		Now     time.Time `db:"now"`
	}
	// One row by its primary key.
	if err := db.GetContext(ctx, &at, `SELECT version, now() AS now FROM signalstack.key_version WHERE only_row`); err != nil {
		return nil, fmt.Errorf("look for changes of keys: %w", err)
	}
	if before != nil && before.version == at.Version {
		same := *before
		same.clock = at.Now
		return &same, nil
	}
	var rows []row
	if err := db.SelectContext(ctx, &rows, `SELECT `+columns+` FROM signalstack.keys`); err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	var revoked []struct {
		Tenant    string    `db:"tenant"`
		NotBefore time.Time `db:"not_before"`
	}
	if err := db.SelectContext(ctx, &revoked, `SELECT tenant, not_before FROM signalstack.portal_revocations`); err != nil {
		return nil, fmt.Errorf("load revocations: %w", err)
	}
	k := &known{version: at.Version, clock: at.Now, byDigest: make(map[digest]*entry, len(rows)), revoked: make(map[string]time.Time, len(revoked))}
	for _, r := range rows {
		e := &entry{id: r.ID, caller: Caller{Scopes: r.Scopes, Tenant: r.Tenant}, expiresAt: r.ExpiresAt}
		sum := digest(r.Hash)
		if before != nil && before.byDigest[sum] != nil {
			e.noted.Store(before.byDigest[sum].noted.Load())
		}
		k.byDigest[sum] = e
	}
	for _, r := range revoked {
		k.revoked[r.Tenant] = r.NotBefore
	}
	return k, nil
}

// changed counts a change and tells of it, in the caller's transaction.
func changed(ctx context.Context, tx *sqlx.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE signalstack.key_version SET version = version + 1 WHERE only_row`)
	if err == nil {
		_, err = tx.ExecContext(ctx, `SELECT pg_notify($1, '')`, channel)
	}
	if err != nil {
		return fmt.Errorf("tell of a change of keys: %w", err)
	}
	return nil
}

func insert(ctx context.Context, db *pg.DB, r row) (row, error) {
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &r, `
			INSERT INTO signalstack.keys (id, hash, prefix, name, tenant, scopes, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, now(), $7)
			RETURNING `+columns, r.ID, r.Hash, r.Prefix, r.Name, r.Tenant, r.Scopes, r.ExpiresAt)
		if err != nil {
			return fmt.Errorf("insert key: %w", err)
		}
		return changed(ctx, tx)
	})
	return r, err
}

func remove(ctx context.Context, db *pg.DB, id uuid.UUID) error {
	return pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		var gone uuid.UUID
		err := tx.GetContext(ctx, &gone, `DELETE FROM signalstack.keys WHERE id = $1 RETURNING id`, id)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.Missing("key", id.String())
		}
		if err != nil {
			return fmt.Errorf("delete key: %w", err)
		}
		return changed(ctx, tx)
	})
}

// list gives up to limit keys, oldest first, after the given id.
func list(ctx context.Context, q pg.Querier, tenant, after string, limit int) ([]Key, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.keys
		WHERE ($1 = '' OR tenant = $1) AND id > coalesce(nullif($2, '')::uuid, '00000000-0000-0000-0000-000000000000')
		ORDER BY id
		LIMIT $3`, tenant, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	shown := make([]Key, len(rows))
	for i, r := range rows {
		shown[i] = r.show()
	}
	return shown, nil
}

// noteUse notes that a key is used, unless another process has just done so.
func noteUse(ctx context.Context, q pg.Querier, id uuid.UUID) error {
	_, err := q.ExecContext(ctx, `
		UPDATE signalstack.keys SET last_used_at = now()
		WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '30 seconds')`, id)
	return err
}

// revokeLinks ends the links of a tenant, and forgets what ended those that no longer
// live.
func revokeLinks(ctx context.Context, db *pg.DB, tenant string) (Revocation, error) {
	out := Revocation{Tenant: tenant}
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		// The time is that of the statement: the one of the transaction may be before that
		// of a link made meanwhile.
		err := tx.GetContext(ctx, &out.NotBefore, `
			INSERT INTO signalstack.portal_revocations (tenant, not_before) VALUES ($1, clock_timestamp())
			ON CONFLICT (tenant) DO UPDATE SET not_before = excluded.not_before
			RETURNING not_before`, tenant)
		if err == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM signalstack.portal_revocations WHERE not_before < now() - interval '30 days'`)
		}
		if err != nil {
			return fmt.Errorf("revoke links: %w", err)
		}
		return changed(ctx, tx)
	})
	out.NotBefore = out.NotBefore.UTC()
	return out, err
}
