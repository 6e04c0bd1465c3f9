package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/pg"
)

// migrateWait is how long a migration waits for the database to come up, as a
// one-shot container beside it must.
const migrateWait = time.Minute

// Migrate runs one verb of "signalstack migrate" and writes what it did to out.
func Migrate(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer, verb string) error {
	url := cfg.DirectURL
	if url == "" {
		url = cfg.DatabaseURL
	}
	if url == "" {
		return errors.New("DATABASE_URL is not set; name the PostgreSQL to migrate")
	}
	db, err := pg.Open(url, pg.Options{Role: "migrate", MaxConns: 3, Unbounded: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err := awaitDatabase(ctx, db, log); err != nil {
		return err
	}
	p, err := pg.Migrator(ctx, db, log)
	if err != nil {
		return err
	}
	return migrate(ctx, p, out, verb)
}

func awaitDatabase(ctx context.Context, db *pg.DB, log *slog.Logger) error {
	deadline := time.Now().Add(migrateWait)
	for try := 0; ; try++ {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		if !pg.IsAway(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%w: the database: %w", ErrUnreachable, err)
		}
		if try%10 == 0 {
			log.WarnContext(ctx, "waiting for the database", "error", err)
		}
		pause(ctx, 500*time.Millisecond)
	}
}

func migrate(ctx context.Context, p *goose.Provider, out io.Writer, verb string) error {
	switch verb {
	case "up":
		done, err := p.Up(ctx)
		return report(out, "applied", done, err)
	case "down":
		done, err := p.Down(ctx)
		return report(out, "taken back", []*goose.MigrationResult{done}, err)
	case "redo":
		down, err := p.Down(ctx)
		if err := report(out, "taken back", []*goose.MigrationResult{down}, err); err != nil {
			return err
		}
		up, err := p.UpByOne(ctx)
		return report(out, "applied", []*goose.MigrationResult{up}, err)
	case "version":
		v, err := p.GetDBVersion(ctx)
		if err != nil {
			return fmt.Errorf("read schema version: %w", err)
		}
		_, err = fmt.Fprintln(out, v)
		return err
	default:
		return status(ctx, p, out)
	}
}

func report(out io.Writer, did string, done []*goose.MigrationResult, err error) error {
	if errors.Is(err, goose.ErrNoNextVersion) || err == nil && len(done) == 0 {
		_, err := fmt.Fprintln(out, "nothing to do")
		return err
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, r := range done {
		if _, err := fmt.Fprintf(out, "%s %s (%s)\n", did, r.Source.Path, r.Duration.Round(time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

func status(ctx context.Context, p *goose.Provider, out io.Writer) error {
	all, err := p.Status(ctx)
	if err != nil {
		return fmt.Errorf("read migration status: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range all {
		when := "pending"
		if s.State == goose.StateApplied {
			when = s.AppliedAt.UTC().Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(w, "%d\t%s\t%s\n", s.Source.Version, s.Source.Path, when); err != nil {
			return err
		}
	}
	return w.Flush()
}
