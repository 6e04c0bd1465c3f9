package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// Promoter makes scheduled jobs ready when their time has come. Every worker has
// one: rows that one holds the others skip.
type Promoter struct {
	DB  *pg.DB
	Log *slog.Logger
	// Marked is called when a pass sees in passing that jobs have ended that others wait
	// for; may be nil.
	Marked func()

	mu    sync.Mutex
	woken chan struct{}
	heard time.Time // earliest run_at told since the last pass

	since    time.Time // jobs due before it were seen to
	lastFull time.Time
	fullTook time.Duration
}

// NewPromoter makes a promoter.
func NewPromoter(db *pg.DB, log *slog.Logger) *Promoter {
	return &Promoter{DB: db, Log: log, woken: make(chan struct{}, 1)}
}

const (
	// promotePoll is the longest time between two passes. A job for sooner is told of.
	promotePoll = 2 * time.Second
	// promoteBatch bounds a pass; the next follows at once while there is more.
	promoteBatch = 1000
	// promoteSlack is how far before its last position a pass begins, for
	// transactions that were open then.
	promoteSlack = 2 * time.Second
)

// Wake tells of a job that will be due at a time.
func (p *Promoter) Wake(at time.Time) {
	p.mu.Lock()
	if p.heard.IsZero() || at.Before(p.heard) {
		p.heard = at
	}
	p.mu.Unlock()
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// Run promotes until ctx ends.
func (p *Promoter) Run(ctx context.Context) error {
	return rounds(ctx, p.Log, "make scheduled jobs ready", p.woken, promotePoll, p.pass)
}

// rounds makes a pass whenever it is woken, and when the time that the last one gave is
// over or most is, until ctx ends. What fails again and again is logged once.
func rounds(ctx context.Context, log *slog.Logger, task string, woken <-chan struct{}, most time.Duration, pass func(context.Context) (time.Duration, error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-timer.C:
		}
		wait, err := pass(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failures++; failures == 1 {
				log.WarnContext(ctx, "upkeep fails; trying again until it does not", "task", task, "error", err)
			}
			wait = promotePoll
		default:
			failures = 0
		}
		timer.Reset(min(wait, most))
	}
}

// pass promotes what is due and gives the time until it should look again.
func (p *Promoter) pass(ctx context.Context) (time.Duration, error) {
	p.mu.Lock()
	heard := p.heard
	p.heard = time.Time{}
	p.mu.Unlock()
	began, full := time.Now(), false
	if time.Since(p.lastFull) >= fullPassAfter(p.fullTook) {
		p.since, full = time.Time{}, true
	}
	if !heard.IsZero() && heard.Add(-promoteSlack).Before(p.since) {
		p.since = heard.Add(-promoteSlack)
	}
	for {
		seen, err := promote(ctx, p.DB, p.since)
		if err != nil {
			return 0, err
		}
		if seen.Moved == promoteBatch {
			continue
		}
		if seen.Marked && p.Marked != nil {
			p.Marked()
		}
		if full {
			p.lastFull, p.fullTook = time.Now(), time.Since(began)
		}
		p.since = seen.Now.Add(-promoteSlack)
		if seen.Next == nil {
			return promotePoll, nil
		}
		return seen.Next.Sub(seen.Now), nil
	}
}

// fullPassAfter is how long a loop that remembers a position goes on without
// reading from the start: ten seconds, or longer where such a pass takes long,
// because an old snapshot keeps dead rows in its way.
func fullPassAfter(took time.Duration) time.Duration { return max(10*time.Second, 50*took) }

// promoted is what a pass did and saw, by the database's clock.
type promoted struct {
	Moved  int
	Now    time.Time
	Next   *time.Time // when the next job will be due
	Marked bool       // there is work for the resolver
}

// promote makes up to promoteBatch jobs ready that are due.
func promote(ctx context.Context, q pg.Querier, since time.Time) (row promoted, err error) {
	// In the order of the index scheduled_run_at, from the position. due and told are
	// counted so that the notifications are sent.
	err = q.GetContext(ctx, &row, `
		WITH due_now AS MATERIALIZED (
		    SELECT job_id FROM signalstack.scheduled
		    WHERE run_at >= $1::timestamptz AND run_at <= now()
		    ORDER BY run_at LIMIT $2
		    FOR UPDATE SKIP LOCKED
		), gone AS (
		    DELETE FROM signalstack.scheduled AS s USING due_now WHERE s.job_id = due_now.job_id
		    RETURNING s.job_id, s.queue, s.lane, s.priority, s.attempt, s.lease
		), due AS (
		    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
		    SELECT job_id, queue, lane, priority, now(), attempt, lease FROM gone
		    RETURNING queue, lane
		), told AS (
		    SELECT signalstack.notify_ready(queue, array_agg(DISTINCT lane)) FROM due GROUP BY queue
		)
		SELECT (SELECT count(*) FROM gone) + 0 * (SELECT count(*) FROM told) AS moved, now() AS now,
		       (SELECT min(run_at) FROM signalstack.scheduled WHERE run_at > now()) AS next,
		       EXISTS (SELECT FROM signalstack.followed) AS marked`, positionText(since), promoteBatch)
	if err != nil {
		return promoted{}, fmt.Errorf("promote scheduled jobs: %w", err)
	}
	return row, nil
}

// positionText is a position as a statement takes it; the zero time is before all.
func positionText(t time.Time) string {
	if t.IsZero() {
		return "-infinity"
	}
	return timeText(t)
}
