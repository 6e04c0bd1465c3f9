package bench

import (
	"context"
	"time"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/pg"
)

// idle is what a process without work asks of the server.
type idle struct {
	Seconds             float64  `json:"seconds"`
	CommitsPerSecond    float64  `json:"commits_per_second"`
	WritesPerSecond     float64  `json:"rows_written_per_second"`
	StatementsPerSecond *float64 `json:"statements_per_second,omitempty"` // nil: not counted
	WALBytesPerSecond   float64  `json:"wal_bytes_per_second"`
}

// settlingTime is how long a process has work of its own after its start.
const settlingTime = 3 * time.Second

// benchIdle runs a process of all roles without work, first for a short time, then
// for a longer one. The difference is what it costs once it has started: a session
// hands in its counts at its end, so only whole lives are counted exactly.
func benchIdle(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) error {
		if err := s.withPool(func(db *pg.DB) error { return settleTables(ctx, db) }); err != nil {
			return err
		}
		short, err := s.live(ctx, settlingTime)
		if err != nil {
			return err
		}
		spell := 2 * time.Duration(b.o.Seconds) * time.Second
		long, err := s.live(ctx, settlingTime+spell)
		if err != nil {
			return err
		}
		spent := long.since(short)
		each := func(n int64) float64 { return float64(n) / spell.Seconds() }
		i := &idle{
			Seconds: spell.Seconds(), CommitsPerSecond: each(spent.Commits), WritesPerSecond: each(spent.Written),
			WALBytesPerSecond: each(spent.WALBytes),
		}
		if s.statements {
			i.StatementsPerSecond = new(each(spent.Statements))
			b.report.line("%-36s %9.1f statements/s", "idle process of all roles", *i.StatementsPerSecond)
		}
		b.report.line("%-36s %9.1f commits/s, %.2f rows written/s, %.1f KiB of WAL/s over %.0f s", "idle process of all roles",
			i.CommitsPerSecond, i.WritesPerSecond, i.WALBytesPerSecond/1024, i.Seconds)
		b.report.Idle = i
		return nil
	})
}

// live gives what a process costs in its whole life.
func (s *scratch) live(ctx context.Context, d time.Duration) (cost, error) {
	before, err := s.cost(ctx)
	if err != nil {
		return cost{}, err
	}
	err = s.withApp(ctx, app.Options{Serve: true, Work: true}, func(string) error {
		wait(ctx, d)
		return ctx.Err()
	})
	if err != nil {
		return cost{}, err
	}
	after, err := s.cost(ctx)
	return after.since(before), err
}
