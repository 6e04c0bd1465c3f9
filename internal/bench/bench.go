package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pg/devpg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Options of a run.
type Options struct {
	Config      config.Config
	Jobs        int
	Payload     int // bytes
	Slots       int
	Connections int
	Seconds     int
	Only        string
	Out, Talk   io.Writer
}

// AddFlags adds the flags of the options.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.IntVar(&o.Jobs, "jobs", 100_000, "size of the backlog")
	f.IntVar(&o.Payload, "payload", 110, "bytes of a job's payload")
	f.IntVar(&o.Slots, "slots", 2000, "jobs that run at once")
	f.IntVar(&o.Connections, "connections", 64, "connections that send events")
	f.IntVar(&o.Seconds, "seconds", 10, "length of each timed part")
	f.StringVar(&o.Only, "only", "", "run some parts only: insert,work,events,pickup")
}

// scratch is the database that a run works on.
type scratch struct {
	url string
	db  *pg.DB
}

// Run measures and prints one line for each part.
func Run(ctx context.Context, o Options) (err error) {
	server, stop, err := serverURL(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	s, drop, err := makeScratch(ctx, server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop()) }()
	var version string
	if err := s.db.GetContext(ctx, &version, `SELECT current_setting('server_version') || ', fsync ' || current_setting('fsync')
		|| ', synchronous_commit ' || current_setting('synchronous_commit')`); err != nil {
		return fmt.Errorf("read server settings: %w", err)
	}
	fmt.Fprintf(o.Out, "PostgreSQL %s\n", version)
	for _, part := range []struct {
		name string
		run  func(context.Context, *scratch, Options) error
	}{{"insert", benchInsert}, {"work", benchWork}, {"events", benchEvents}, {"pickup", benchPickup}} {
		if o.Only != "" && !strings.Contains(o.Only, part.name) {
			continue
		}
		if err := part.run(ctx, s, o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// serverURL names the server to work on, starting a private one when none is
// named.
func serverURL(ctx context.Context, o Options) (string, func() error, error) {
	if o.Config.DatabaseURL != "" {
		return o.Config.DatabaseURL, func() error { return nil }, nil
	}
	fmt.Fprintln(o.Talk, "starting a private PostgreSQL with durable commits ...")
	server, err := devpg.Start(ctx, devpg.Config{Ephemeral: true, Stdin: os.Stdin, Stderr: os.Stderr, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", nil, err
	}
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return server.Stop(ctx)
	}
	return server.DSN(), stop, nil
}

func makeScratch(ctx context.Context, server string) (*scratch, func() error, error) {
	admin, err := pg.Open(server, pg.Options{Role: "bench", MaxConns: 1, Unbounded: true})
	if err != nil {
		return nil, nil, err
	}
	name := "signalstack_bench_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	if _, err := admin.ExecContext(ctx, `CREATE DATABASE `+name); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w: make the scratch database: %w", app.ErrUnreachable, err), admin.Close())
	}
	s := &scratch{url: withDatabase(server, name)}
	drop := func() error {
		if s.db != nil {
			_ = s.db.Close()
		}
		_, err := admin.ExecContext(context.WithoutCancel(ctx), `DROP DATABASE `+name+` WITH (FORCE)`)
		return errors.Join(err, admin.Close())
	}
	if s.db, err = pg.Open(s.url, pg.Options{Role: "bench", MaxConns: 20, Unbounded: true}); err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	if err := pg.MigrateUp(ctx, s.db, slog.New(slog.DiscardHandler)); err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	if err := queue.EnsureAhead(ctx, s.db); err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	return s, drop, nil
}

// withDatabase puts another database name into a URL or key=value DSN.
func withDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.Path = "/" + name
		return u.String()
	}
	return dsn + " dbname=" + name
}

// cost is what the server counted up to a moment.
type cost struct {
	Commits  int64 `db:"commits"`
	WALBytes int64 `db:"wal_bytes"`
}

func (s *scratch) cost(ctx context.Context) (cost, error) {
	var c cost
	// pg_stat_database lags by up to a second; the parts are longer than that.
	err := s.db.GetContext(ctx, &c, `
		SELECT xact_commit AS commits, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal_bytes
		FROM pg_stat_database WHERE datname = current_database()`)
	return c, err
}

// measure runs f and prints its rate with what it cost.
func (s *scratch) measure(ctx context.Context, o Options, label string, f func() (int, error)) error {
	before, err := s.cost(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	n, err := f()
	if err != nil {
		return err
	}
	took := time.Since(start)
	after, err := s.cost(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%-34s %9.0f/s   %d in %.2f s, %.4f commits and %.2f KiB of WAL each\n", label, float64(n)/took.Seconds(), n, took.Seconds(),
		float64(after.Commits-before.Commits)/float64(n), float64(after.WALBytes-before.WALBytes)/1024/float64(n))
	return nil
}
