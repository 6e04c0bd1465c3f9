package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pg/devpg"
	"github.com/signalstack/signalstack/internal/queue"
)

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

// scratch is a database that a part of a scenario works on.
type scratch struct {
	*bench
	name string
	url  string
}

// withScratch runs f on a fresh database, and drops it.
func (b *bench) withScratch(ctx context.Context, f func(*scratch) error) (err error) {
	name := "signalstack_bench_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	if _, err := b.admin.ExecContext(ctx, `CREATE DATABASE `+name); err != nil {
		return fmt.Errorf("%w: make the scratch database: %w", app.ErrUnreachable, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if _, dropErr := b.admin.ExecContext(ctx, `DROP DATABASE `+name+` WITH (FORCE)`); dropErr != nil {
			err = errors.Join(err, fmt.Errorf("drop the scratch database: %w", dropErr))
		}
	}()
	s := &scratch{bench: b, name: name, url: withDatabase(b.server, name)}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	return f(s)
}

func (s *scratch) migrate(ctx context.Context) error {
	return s.withPool(func(db *pg.DB) error {
		if err := pg.MigrateUp(ctx, db, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		return queue.EnsureAhead(ctx, db)
	})
}

// withPool runs f with a pool whose statements may take as long as they like.
func (s *scratch) withPool(f func(*pg.DB) error) error {
	db, err := pg.Open(s.url, pg.Options{Role: "bench", MaxConns: 20, Unbounded: true})
	if err != nil {
		return err
	}
	return errors.Join(f(db), db.Close())
}

// withDatabase puts another database name into a URL or key=value DSN.
func withDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.Path = "/" + name
		return u.String()
	}
	return dsn + " dbname=" + name
}

// wait waits for a time or the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
