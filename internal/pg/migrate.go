package pg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/signalstack/signalstack/migrations"
)

// ErrOldSchema says that the database has not all migrations of this binary.
var ErrOldSchema = errors.New("the database schema is older than this binary; run: signalstack migrate up")

// versionTable is where goose notes what was applied. All of SignalStack lives in
// a schema of its own and every statement names it: the database may be shared
// with the application, and a pooler in transaction mode forgets a search_path.
const versionTable = "signalstack.schema_version"

// Migrator gives goose's provider over the embedded migrations. A session lock
// lets several processes start at once; one migrates, the others wait for it.
func Migrator(ctx context.Context, db *DB, log *slog.Logger) (*goose.Provider, error) {
	if err := createSchema(ctx, db); err != nil {
		return nil, err
	}
	// Goose's own default asks once every 5 s, which a first start would feel.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, fmt.Errorf("make migration lock: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db.DB.DB, migrations.FS,
		goose.WithTableName(versionTable), goose.WithSessionLocker(locker), goose.WithSlog(log), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

// createSchema makes the home of goose's own table. Two processes may both find
// it missing; the unique violation of the slower one means it is there.
func createSchema(ctx context.Context, db *DB) error {
	_, err := db.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS signalstack`)
	if err != nil && !IsUnique(err, "") {
		return fmt.Errorf("create schema signalstack: %w", err)
	}
	return nil
}

// MigrateUp applies what is missing.
func MigrateUp(ctx context.Context, db *DB, log *slog.Logger) error {
	p, err := Migrator(ctx, db, log)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate up: %w", err)
	}
	return nil
}

// CheckSchema refuses a database older than this binary with ErrOldSchema and
// tolerates a newer one, so that a rolling upgrade may migrate first.
func CheckSchema(ctx context.Context, db *DB) error {
	want, err := newestMigration()
	if err != nil {
		return err
	}
	var have int64
	// Goose keeps one row for each applied version and deletes it on the way down.
	err = db.GetContext(ctx, &have, `SELECT coalesce(max(version_id), 0) FROM signalstack.schema_version WHERE is_applied`)
	if code(err) == undefinedTable {
		return fmt.Errorf("%w (it has no schema yet)", ErrOldSchema)
	}
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have < want {
		return fmt.Errorf("%w (it has version %d, this binary needs %d)", ErrOldSchema, have, want)
	}
	return nil
}

func newestMigration() (int64, error) {
	entries, err := migrations.FS.ReadDir(".")
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	var newest int64
	for _, e := range entries {
		version, err := goose.NumericComponent(e.Name())
		if err != nil {
			return 0, fmt.Errorf("read migration name %s: %w", e.Name(), err)
		}
		newest = max(newest, version)
	}
	return newest, nil
}
