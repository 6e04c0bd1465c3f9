package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// maxConns is the most connections River's pool may open. River's own benchmark
// has the pool's default, 4 or the number of CPUs; with more, nothing in River
// waits for a connection.
const maxConns = 50

// scratch is the database that a run works on.
type scratch struct {
	name  string
	url   string
	admin *pgx.Conn // connected to the server's own database, so its commits do not count
}

func makeScratch(ctx context.Context, server string) (*scratch, func() error, error) {
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the server: %w", err)
	}
	var random [6]byte
	_, _ = rand.Read(random[:]) // It never fails.
	s := &scratch{name: "river_bench_" + hex.EncodeToString(random[:]), url: server, admin: admin}
	if _, err := admin.Exec(ctx, `CREATE DATABASE `+s.name); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make the scratch database: %w", err), admin.Close(ctx))
	}
	if err := s.migrate(ctx); err != nil {
		return nil, nil, errors.Join(err, s.drop(ctx))
	}
	return s, func() error { return s.drop(ctx) }, nil
}

// drop connects anew: an interrupt closes the connection whose query it cut off.
func (s *scratch) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	_ = s.admin.Close(ctx)
	admin, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return fmt.Errorf("connect to drop the scratch database: %w", err)
	}
	_, err = admin.Exec(ctx, `DROP DATABASE `+s.name+` WITH (FORCE)`)
	return errors.Join(err, admin.Close(ctx))
}

// migrate makes River's schema by River's own migrations.
func (s *scratch) migrate(ctx context.Context) error {
	pool, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("make the migrator: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate the scratch database: %w", err)
	}
	return nil
}

// open returns a pool on the scratch database.
func (s *scratch) open(ctx context.Context) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(s.url)
	if err != nil {
		return nil, fmt.Errorf("parse the database URL: %w", err)
	}
	config.ConnConfig.Database = s.name
	config.MaxConns = maxConns
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the scratch database: %w", err)
	}
	return pool, nil
}

// cost is what the server counted up to a moment.
type cost struct {
	commits  int64
	walBytes int64
}

// cost reads the counters once nobody is connected to the scratch database: a
// session may keep its counts to itself for seconds, and hands them in at its end.
func (s *scratch) cost(ctx context.Context) (cost, error) {
	var c cost
	for range 500 {
		var sessions int
		err := s.admin.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = $1 AND backend_type = 'client backend'`, s.name).Scan(&sessions)
		if err != nil {
			return c, fmt.Errorf("count sessions: %w", err)
		}
		if sessions == 0 {
			break
		}
		wait(ctx, 10*time.Millisecond)
	}
	err := s.admin.QueryRow(ctx, `
		SELECT xact_commit, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
		FROM pg_stat_database WHERE datname = $1`, s.name).Scan(&c.commits, &c.walBytes)
	if err != nil {
		return c, fmt.Errorf("read the server's counters: %w", err)
	}
	return c, nil
}

// measure runs f on a pool of its own and prints its rate with what it cost.
func (s *scratch) measure(ctx context.Context, r *report, label string, f func(*pgxpool.Pool) (outcome, error)) (*figure, error) {
	before, err := s.cost(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	o, err := f(pool)
	pool.Close()
	if err != nil {
		return nil, err
	}
	after, err := s.cost(ctx)
	if err != nil {
		return nil, err
	}
	return r.figure(label, o, before, after), nil
}

// reset empties the table of jobs, as River's own benchmark does before it starts,
// so that no part pays for what another one left.
func (s *scratch) reset(ctx context.Context) error {
	pool, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	for _, statement := range []string{`TRUNCATE river_job`, `VACUUM FULL river_job`} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("reset the jobs: %w", err)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
