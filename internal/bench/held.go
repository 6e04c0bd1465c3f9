package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
)

// heldFigures is how the engine fared while others held old snapshots.
type heldFigures struct {
	Name       string  `json:"name"`
	Rate       int     `json:"jobs_per_second_offered"`
	Seconds    float64 `json:"held_seconds"`
	Before     phase   `json:"before"`
	During     phase   `json:"during"`
	End        phase   `json:"end_of_during"` // its last seconds, when it is worst
	After      phase   `json:"after"`
	DeadRows   int64   `json:"dead_rows_at_the_end"` // of ready and running, as the server estimates
	Throughput float64 `json:"throughput_ratio"`     // during to before
	ClaimP50   float64 `json:"claim_p50_ratio"`
	ClaimP95   float64 `json:"claim_p95_ratio"`
	EndP95     float64 `json:"claim_p95_ratio_at_the_end"`
	// BackSeconds is how long after the release the engine was back at its baseline;
	// nil: not within two minutes.
	BackSeconds *float64 `json:"back_at_baseline_seconds"`
}

const (
	// warmUp comes before the first phase.
	warmUp = 3 * time.Second
	// endPart is at most how much of the time the end of the hold is.
	endPart = 10 * time.Second
	// backWindow is how long the engine must be as fast as before to be back, and
	// backPatience how long that is waited for.
	backWindow   = 5 * time.Second
	backPatience = 2 * time.Minute
	// readTime is how long each analytical transaction lasts, and readPause what lies
	// between its reads: they shall hold back vacuum, not take all processors.
	readTime  = 30 * time.Second
	readPause = time.Second
)

// benchHeld lets jobs come and go while another session holds a snapshot, and then
// while several long reads overlap.
func benchHeld(ctx context.Context, b *bench) error {
	if err := b.held(ctx, "held snapshot", holdSnapshot); err != nil || b.o.Readers == 0 {
		return err
	}
	return b.held(ctx, fmt.Sprintf("%d long reads", b.o.Readers), func(ctx context.Context, db *pg.DB) error {
		return readLong(ctx, db, b.o.Readers)
	})
}

// held measures before, while and after hold, which lasts until its context ends.
func (b *bench) held(ctx context.Context, name string, hold func(context.Context, *pg.DB) error) error {
	return b.withScratch(ctx, func(s *scratch) error {
		h := heldFigures{Name: name, Rate: b.o.Rate, Seconds: b.o.Held.Seconds()}
		l, err := s.startLoad(ctx)
		if err != nil {
			return err
		}
		err = s.withPool(func(db *pg.DB) error { return l.holding(ctx, db, &h, hold) })
		if err = errors.Join(err, l.stop(), ctx.Err()); err != nil {
			return err
		}
		h.compare()
		h.print(b.report)
		b.report.HeldSnapshot = append(b.report.HeldSnapshot, h)
		return nil
	})
}

// holding takes the phases.
func (l *load) holding(ctx context.Context, db *pg.DB, h *heldFigures, hold func(context.Context, *pg.DB) error) error {
	seconds := time.Duration(l.s.o.Seconds) * time.Second
	wait(ctx, warmUp)
	h.Before = l.phase(ctx, seconds)
	holdCtx, release := context.WithCancel(ctx)
	defer release()
	held := make(chan error, 1)
	go func() { held <- hold(holdCtx, db) }()
	from, end := time.Now(), min(endPart, l.s.o.Held/2)
	wait(ctx, l.s.o.Held-end)
	h.End = l.phase(ctx, end)
	h.During = l.between(from, time.Now())
	if err := db.GetContext(ctx, &h.DeadRows, `
		SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables
		WHERE schemaname = 'signalstack' AND relname IN ('ready', 'running')`); err != nil {
		return fmt.Errorf("count dead rows: %w", err)
	}
	release()
	if err := <-held; err != nil {
		return err
	}
	h.BackSeconds = l.awaitBaseline(ctx, h.Before)
	h.After = l.phase(ctx, seconds)
	return l.failed()
}

// awaitBaseline gives the seconds until jobs are done and claimed as before: for a
// whole window at 95 % of the rate, and with a p95 of the claims that is at most a
// fifth, or 1 ms, above.
func (l *load) awaitBaseline(ctx context.Context, before phase) *float64 {
	released := time.Now()
	for time.Since(released) < backPatience && ctx.Err() == nil && l.failed() == nil {
		wait(ctx, 500*time.Millisecond)
		from := time.Now().Add(-backWindow)
		if from.Before(released) {
			continue
		}
		p := l.between(from, time.Now())
		if p.JobsPerSecond >= 0.95*before.JobsPerSecond && p.Claim.P95 <= max(1.2*before.Claim.P95, before.Claim.P95+1) {
			return new(from.Sub(released).Seconds())
		}
	}
	return nil
}

func (h *heldFigures) compare() {
	h.Throughput = ratio(h.During.JobsPerSecond, h.Before.JobsPerSecond)
	h.ClaimP50 = ratio(h.During.Claim.P50, h.Before.Claim.P50)
	h.ClaimP95 = ratio(h.During.Claim.P95, h.Before.Claim.P95)
	h.EndP95 = ratio(h.End.Claim.P95, h.Before.Claim.P95)
}

func (h *heldFigures) print(r *report) {
	for _, p := range []struct {
		when string
		phase
	}{{"before", h.Before}, {"during", h.During}, {"during, its end", h.End}, {"after", h.After}} {
		r.line("%-36s %9.0f/s   claims p50 %.1f ms, p95 %.1f ms, max %.1f ms", h.Name+", "+p.when,
			p.JobsPerSecond, p.Claim.P50, p.Claim.P95, p.Claim.Max)
	}
	back := fmt.Sprintf("not within %s", backPatience)
	if h.BackSeconds != nil {
		back = fmt.Sprintf("%.1f s after the release", *h.BackSeconds)
	}
	r.line("%-36s throughput %.3f, claim p50 %.2f, p95 %.2f, at the end p95 %.2f; %d dead rows; back at baseline %s", "  ratio to before",
		h.Throughput, h.ClaimP50, h.ClaimP95, h.EndP95, h.DeadRows, back)
}

// holdSnapshot keeps a snapshot until ctx ends.
func holdSnapshot(ctx context.Context, db *pg.DB) error {
	return readRepeatably(ctx, db, func(tx *sqlx.Tx) error {
		var n int
		if err := tx.GetContext(ctx, &n, `SELECT count(*) FROM signalstack.controls`); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
}

// readLong keeps n readers going whose transactions overlap.
func readLong(ctx context.Context, db *pg.DB, n int) error {
	errs := make([]error, n)
	var reading sync.WaitGroup
	for i := range n {
		reading.Go(func() {
			wait(ctx, time.Duration(i)*readTime/time.Duration(n))
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = readRepeatably(ctx, db, func(tx *sqlx.Tx) error { return readJobs(ctx, tx) })
			}
		})
	}
	reading.Wait()
	return errors.Join(errs...)
}

// readJobs reads all jobs again and again for the time of one transaction.
func readJobs(ctx context.Context, tx *sqlx.Tx) error {
	for end := time.Now().Add(readTime); time.Now().Before(end) && ctx.Err() == nil; wait(ctx, readPause) {
		var read struct{ Count, Sum sql.NullInt64 }
		if err := tx.GetContext(ctx, &read, `SELECT count(*), sum(length(payload)) FROM signalstack.jobs`); err != nil {
			return err
		}
	}
	return nil
}

// readRepeatably runs f in a transaction of one snapshot; the end of ctx, which
// interrupts it, is no error.
func readRepeatably(ctx context.Context, db *pg.DB, f func(*sqlx.Tx) error) error {
	tx, err := db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err == nil {
		err = errors.Join(f(tx), tx.Rollback())
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
