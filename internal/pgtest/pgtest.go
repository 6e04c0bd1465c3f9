package pgtest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/peterldowns/pgtestdb"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pg/devpg"
	"github.com/signalstack/signalstack/migrations"
)

// New opens a pool on a fresh, migrated database that is dropped after the test.
func New(t testing.TB) *pg.DB {
	t.Helper()
	return Open(t, URL(t))
}

// Open opens another pool on the database of a URL and closes it after the test.
func Open(t testing.TB, dsn string) *pg.DB {
	t.Helper()
	db, err := pg.Open(dsn, pg.Options{Role: "test", MaxConns: 20, ListenURL: Direct(t, dsn)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// URL gives the URL of a fresh, migrated database that is dropped after the test. It
// goes through the pooler, if there is one.
func URL(t testing.TB) string {
	t.Helper()
	conf := database(t, migrator{})
	if pooler := os.Getenv(poolerVariable); pooler != "" {
		u, err := url.Parse(pooler)
		require.NoError(t, err, "read "+poolerVariable)
		u.Path = "/" + conf.Database
		return u.String()
	}
	return conf.URL()
}

// Direct gives the URL of a database past the pooler; "" when there is none.
func Direct(t testing.TB, dsn string) string {
	t.Helper()
	if os.Getenv(poolerVariable) == "" {
		return ""
	}
	u, err := url.Parse(dsn)
	require.NoError(t, err, "read the URL of a database")
	conf := serverConfig(t)
	conf.User, conf.Password, conf.Database = role.Username, role.Password, u.Path[1:]
	return conf.URL()
}

// Empty gives the URL of a fresh database without the schema, past any pooler, as
// migrations go.
func Empty(t testing.TB) string {
	t.Helper()
	return database(t, pgtestdb.NoopMigrator{}).URL()
}

// poolerVariable names a pooler in transaction mode in front of the server.
const poolerVariable = "TEST_POOLER_URL"

// role owns the databases of tests.
var role = pgtestdb.Role{Username: "signalstack_test", Password: "test", Capabilities: "SUPERUSER"}

func database(t testing.TB, m pgtestdb.Migrator) *pgtestdb.Config {
	t.Helper()
	conf := serverConfig(t)
	conf.ForceTerminateConnections = true
	conf.TestRole = &role
	return pgtestdb.Custom(t, conf, m)
}

func serverConfig(t testing.TB) pgtestdb.Config {
	t.Helper()
	dsn := os.Getenv("TEST_DATABASE_URL")
	if dsn == "" {
		dsn = ownServer(t)
	}
	u, err := url.Parse(dsn)
	require.NoError(t, err, "read TEST_DATABASE_URL")
	password, _ := u.User.Password()
	q := u.Query()
	if q.Get("sslmode") == "" {
		q.Set("sslmode", "disable")
	}
	return pgtestdb.Config{
		DriverName: "postgres", User: u.User.Username(), Password: password,
		Host: u.Hostname(), Port: u.Port(), Database: u.Path[1:], Options: q.Encode(),
	}
}

var (
	ownOnce sync.Once
	ownDSN  string
	errOwn  error
)

// ownServer starts one cluster for the test binary. It ends with the process: the
// kernel stops PostgreSQL when its parent dies.
func ownServer(t testing.TB) string {
	t.Helper()
	ownOnce.Do(func() {
		var server *devpg.Server
		server, errOwn = devpg.Start(context.Background(), devpg.Config{
			Ephemeral: true, NoSync: true, Log: slog.New(slog.DiscardHandler), Stderr: os.Stderr,
		})
		if errOwn == nil {
			ownDSN = server.DSN()
		}
	})
	require.NoError(t, errOwn, "no TEST_DATABASE_URL and no PostgreSQL of our own")
	return ownDSN
}

// migrator makes pgtestdb's template with the product's own migrations.
type migrator struct{}

// Hash names the template after the text of all migrations.
func (migrator) Hash() (string, error) {
	entries, err := migrations.FS.ReadDir(".")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, e := range entries {
		b, err := migrations.FS.ReadFile(e.Name())
		if err != nil {
			return "", err
		}
		h.Write([]byte(e.Name()))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// Migrate brings the template up.
func (migrator) Migrate(ctx context.Context, _ *sql.DB, conf pgtestdb.Config) error {
	db, err := pg.Open(conf.URL(), pg.Options{Role: "migrate", Unbounded: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return pg.MigrateUp(ctx, db, slog.New(slog.DiscardHandler))
}
