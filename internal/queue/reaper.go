package queue

import (
	"context"
	"log/slog"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// Reaper rescues the jobs of dead workers. Any number of them may run: rows that
// one holds the others skip.
type Reaper struct {
	DB       *pg.DB
	Log      *slog.Logger
	Interval time.Duration // between passes; 2 s by default
	Lease    time.Duration // of the workers; also the grace after an outage

	since    time.Time // leases before it were seen to
	calmFrom time.Time // the database has answered ever since
	lastFull time.Time
}

// fullReap is how often the reaper reads from the start of the index, for rows
// that were locked when it passed them.
const fullReap = 30 * time.Second

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// A pass that came late means that this process stood still, or waited for
		// the database: leases may have run out while their workers live.
		if time.Since(last) > 2*r.Interval {
			r.calmFrom = time.Time{}
		}
		last = time.Now()
		r.pass(ctx)
	}
}

// pass reaps everything that ran out, unless the database was away within the
// last lease.
func (r *Reaper) pass(ctx context.Context) {
	if r.calmFrom.IsZero() {
		if err := r.DB.PingContext(ctx); err == nil {
			r.calmFrom = time.Now()
		}
	}
	if r.calmFrom.IsZero() || time.Since(r.calmFrom) < r.Lease {
		return
	}
	if time.Since(r.lastFull) >= fullReap {
		r.since, r.lastFull = time.Time{}, time.Now()
	}
	for ctx.Err() == nil {
		reaped, err := reap(ctx, r.DB, r.since, r.Lease)
		if err != nil {
			r.calmFrom = time.Time{}
			if ctx.Err() == nil {
				r.Log.WarnContext(ctx, "reaper could not work", "error", err)
			}
			return
		}
		for _, job := range reaped {
			r.Log.WarnContext(ctx, "job rescued from a dead worker",
				"job_id", job.ID, "kind", job.Kind, "attempt", job.Attempt, "state", job.State)
			r.since = job.LeaseUntil
		}
		if len(reaped) < reapBatch {
			return
		}
	}
}
