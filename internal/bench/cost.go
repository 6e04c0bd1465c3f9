package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// cost is what the server counted up to a moment: WAL for itself as a whole, the
// rest for one database.
type cost struct {
	Commits    int64 `db:"commits"`
	WALBytes   int64 `db:"wal_bytes"`
	Written    int64 `db:"written"` // rows inserted, updated or deleted
	Statements int64 // 0 where the server does not count them
}

func (c cost) since(before cost) cost {
	return cost{c.Commits - before.Commits, c.WALBytes - before.WALBytes, c.Written - before.Written, c.Statements - before.Statements}
}

// cost reads the counters once nobody is connected to the scratch database: a
// session may keep its counts to itself for seconds, and hands them in at its end.
func (s *scratch) cost(ctx context.Context) (cost, error) {
	var c cost
	for range 500 {
		var sessions int
		err := s.admin.GetContext(ctx, &sessions, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = $1 AND backend_type = 'client backend'`, s.name)
		if err != nil {
			return c, fmt.Errorf("count sessions: %w", err)
		}
		if sessions == 0 {
			break
		}
		wait(ctx, 10*time.Millisecond)
	}
	err := s.admin.GetContext(ctx, &c, `
		SELECT xact_commit AS commits, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal_bytes,
		       tup_inserted + tup_updated + tup_deleted AS written
		FROM pg_stat_database WHERE datname = $1`, s.name)
	if err == nil && s.statements {
		err = s.admin.GetContext(ctx, &c.Statements, `
			SELECT coalesce(sum(p.calls), 0)::bigint FROM pg_stat_statements AS p JOIN pg_database AS d ON d.oid = p.dbid
			WHERE d.datname = $1`, s.name)
	}
	if err != nil {
		return c, fmt.Errorf("read the server's counters: %w", err)
	}
	return c, nil
}

// outcome of a timed part. Jobs may be more than those counted within the time:
// the cost is spread over all of them.
type outcome struct {
	timed int
	took  time.Duration
	jobs  int
}

// measure runs f on a pool of its own and prints its rate with what it cost.
func (s *scratch) measure(ctx context.Context, label string, f func(*pg.DB) (outcome, error)) (*figure, error) {
	before, err := s.cost(ctx)
	if err != nil {
		return nil, err
	}
	var o outcome
	if err := s.withPool(func(db *pg.DB) (err error) {
		o, err = f(db)
		return err
	}); err != nil {
		return nil, err
	}
	after, err := s.cost(ctx)
	if err != nil {
		return nil, err
	}
	return s.report.figure(label, o, after.since(before), s.statements), nil
}
