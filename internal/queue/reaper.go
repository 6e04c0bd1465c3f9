package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/analytics"
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
	fullTook time.Duration
}

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	wait := r.pass(ctx) // the calm begins now, not at the first tick
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		// A pass that came late means that this process stood still, or waited for
		// the database: leases may have run out while their workers live.
		if time.Since(last) > wait+r.Interval {
			r.calmFrom = time.Time{}
		}
		wait = r.pass(ctx)
		timer.Reset(wait)
	}
}

// pass reaps everything that ran out, unless the database was away within the
// last lease. It gives the time until the next pass: less than the interval where a
// lease will run out in it, as that is its worker's death most likely.
func (r *Reaper) pass(ctx context.Context) (wait time.Duration) {
	if r.calmFrom.IsZero() {
		if err := r.DB.PingContext(ctx); err == nil {
			r.calmFrom = time.Now() // not before the answer, which a stall may have held back
		}
	}
	// A tick may come a little before its time.
	if r.calmFrom.IsZero() || time.Since(r.calmFrom) < r.Lease-r.Interval/4 {
		return r.Interval
	}
	wait = r.Interval
	began, full := time.Now(), false
	if time.Since(r.lastFull) >= fullPassAfter(r.fullTook) {
		r.since, full = time.Time{}, true
	}
	for ctx.Err() == nil {
		found, err := r.look(ctx)
		var reaped []Reaped
		if err == nil && found.Lost {
			reaped, err = reap(ctx, r.DB, r.since, r.Lease)
		}
		if err != nil {
			r.calmFrom = time.Time{}
			if ctx.Err() == nil {
				r.Log.WarnContext(ctx, "reaper could not work", "error", err)
			}
			return r.Interval
		}
		for _, job := range reaped {
			r.Log.WarnContext(ctx, "job rescued from a dead worker",
				"job_id", job.ID, "kind", job.Kind, "attempt", job.Attempt, "state", job.State)
			r.since = job.LeaseUntil
		}
		if !found.Lost {
			r.since = found.Now.Add(-reapSlack)
		}
		if found.Next != nil {
			wait = min(r.Interval, found.Next.Sub(found.Now)+time.Millisecond)
		}
		if len(reaped) < reapBatch {
			break
		}
	}
	if full {
		r.lastFull, r.fullTook = time.Now(), time.Since(began)
	}
	return wait
}

// reapSlack is how far before a time at which none was lost the next pass begins.
const reapSlack = 2 * time.Second

// expiry is what a pass sees of the leases, by the database's clock.
type expiry struct {
	Lost bool // some have run out
	Now  time.Time
	Next *time.Time // when the next will, if it is within the interval
}

// look keeps a pass that has nothing to do to one small query.
func (r *Reaper) look(ctx context.Context) (expiry, error) {
	var found expiry
	asked := time.Now()
	// Both go along the index running_lease_until from a position: the last pass, and now.
	err := r.DB.GetContext(ctx, &found, `
		SELECT EXISTS (SELECT FROM signalstack.running WHERE lease_until >= $1::timestamptz AND lease_until < now()) AS lost, now() AS now,
		       (SELECT min(lease_until) FROM signalstack.running
		        WHERE lease_until >= now() AND lease_until < now() + $2 * interval '1 millisecond') AS next`,
		positionText(r.since), r.Interval.Milliseconds())
	if err == nil && stalled(asked, r.Lease) {
		err = errStalled
	}
	if err != nil {
		return expiry{}, fmt.Errorf("look for lost leases: %w", err)
	}
	return found, nil
}

// Reaped is a job that was taken from a dead worker.
type Reaped struct {
	ID          uuid.UUID     `db:"job_id"`
	Attempt     int           `db:"attempt"`
	State       State         `db:"state"`   // Retrying, Failed or Canceled
	Outcome     string        `db:"outcome"` // of the attempt
	Tenant      string        `db:"tenant"`
	Kind        string        `db:"kind"`
	Queue       string        `db:"queue"`
	EventType   string        `db:"event_type"`
	EndpointID  uuid.NullUUID `db:"endpoint_id"`
	OrderingKey string        `db:"ordering_key"`
	Skips       bool          `db:"skips"`
	DurationMS  int64         `db:"duration_ms"`
	LeaseUntil  time.Time     `db:"lease_until"`
}

// maxCrashes is how many workers a job may take down with it. It is then put away
// as failed, whatever attempts it has left: the next worker would die as well.
const maxCrashes = 3

// reapSQL ends expired leases as crashed attempts, in the order of the index
// running_lease_until from where the last pass stopped. Nothing is reaped while
// the server is younger than a lease: its workers were cut off by its restart and
// may still settle.
var reapSQL = `
WITH lost AS MATERIALIZED (
    SELECT r.job_id, r.lease_until
    FROM signalstack.running AS r
    WHERE r.lease_until >= $1::timestamptz AND r.lease_until < now()
      AND pg_postmaster_start_time() < now() - $2 * interval '1 millisecond'
    ORDER BY r.lease_until
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM signalstack.running AS r USING lost WHERE r.job_id = lost.job_id
    RETURNING r.*
), wanted AS (
    DELETE FROM signalstack.cancels AS c USING gone WHERE c.job_id = gone.job_id RETURNING c.job_id
), judged AS MATERIALIZED (
    SELECT g.job_id, g.queue, g.lane, g.priority, g.attempt, g.lease, g.worker, g.limited, g.started_at, g.lease_until,
           CASE WHEN w.job_id IS NOT NULL THEN 'canceled'
                WHEN g.attempt >= j.max_attempts OR k.crashes + 1 >= $4 THEN 'failed'
                ELSE 'retrying' END AS state,
           CASE WHEN g.attempt < j.max_attempts AND k.crashes + 1 >= $4
                THEN 'Quarantined: ' || $4 || ' workers died or lost the database while they ran this job.'
                ELSE 'The worker died or lost the database: its lease ran out.' END AS error,
           (extract(epoch FROM now() - g.started_at) * 1000)::bigint AS duration_ms,
           j.tenant, j.kind, j.event_type, j.endpoint_id, j.ordering_key, j.skips
    FROM gone AS g
    JOIN signalstack.jobs AS j ON j.id = g.job_id
    LEFT JOIN wanted AS w ON w.job_id = g.job_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS crashes FROM signalstack.attempts AS a
        WHERE a.job_id = g.job_id AND a.outcome = 'crashed'
          -- since it was last taken up again, if it was
          AND a.lease > coalesce((SELECT max(f.lease) FROM signalstack.attempts AS f WHERE f.job_id = g.job_id AND f.state <> 'retrying'), 0)
    ) AS k
), recorded AS (
    INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
    SELECT job_id, lease, attempt, state, 'crashed', error, worker, started_at, now(), duration_ms
    FROM judged
), followed AS (
    ` + markFollowed("judged", "state <> 'retrying'") + `
), due AS (
    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
    SELECT job_id, queue, lane, priority, now(), attempt, lease FROM judged WHERE state = 'retrying'
    RETURNING queue, lane
), told AS (
    SELECT signalstack.notify_ready(queue, array_agg(DISTINCT lane))
    FROM (SELECT queue, lane FROM due UNION SELECT queue, lane FROM judged WHERE limited) AS d GROUP BY queue
)
SELECT job_id, attempt, state, 'crashed' AS outcome, tenant, kind, queue, event_type, endpoint_id, ordering_key, skips, duration_ms, lease_until
FROM judged
WHERE (SELECT count(*) FROM told) >= 0
ORDER BY lease_until`

// reapBatch bounds one reap; the next follows at once while there is more.
const reapBatch = 500

// errStalled says that the reaper waited: leases may have run out while it did.
var errStalled = errors.New("the database stood still")

// stalled says whether an answer took so long that live workers may have lost
// leases meanwhile. They extend them with half a lease to spare.
func stalled(asked time.Time, lease time.Duration) bool { return time.Since(asked) > lease/6 }

// reap ends up to reapBatch leases that ran out after since.
func reap(ctx context.Context, db *pg.DB, since time.Time, grace time.Duration) ([]Reaped, error) {
	var reaped []Reaped
	asked := time.Now()
	err := pg.InSteadyTx(ctx, db, func(tx *sqlx.Tx) error {
		reaped = nil
		// now() is the time of BEGIN. Had that waited for a database that stood still,
		// live workers could not have extended their leases either.
		if stalled(asked, grace) {
			return errStalled
		}
		if err := tx.SelectContext(ctx, &reaped, reapSQL, positionText(since), grace.Milliseconds(), reapBatch, maxCrashes); err != nil {
			return err
		}
		if err := analytics.Record(ctx, tx, reapDeltas(reaped)); err != nil {
			return err
		}
		return advance(ctx, tx, endedKeys(reaped))
	})
	if err != nil {
		return nil, fmt.Errorf("reap: %w", err)
	}
	return reaped, nil
}

// endedKeys gives the ordering keys whose turn is over, as turnEnds has it: a crash is a
// failed attempt.
func endedKeys(reaped []Reaped) []orderingKey {
	var keys []orderingKey
	for _, r := range reaped {
		if r.OrderingKey != "" && (r.State.Final() && !r.Skips || r.Skips && r.Attempt == 1) {
			keys = append(keys, orderingKey{r.Tenant, r.OrderingKey})
		}
	}
	return keys
}

func reapDeltas(reaped []Reaped) []analytics.Delta {
	var deltas []analytics.Delta
	for _, r := range reaped {
		d := analytics.Delta{
			Fact: analytics.AttemptEnded, Tenant: r.Tenant, Outcome: r.Outcome, Kind: r.Kind, Queue: r.Queue,
			Type: r.EventType, EndpointID: r.EndpointID.UUID, Duration: time.Duration(r.DurationMS) * time.Millisecond, Timed: true,
		}
		deltas = append(deltas, d)
		if r.State.Final() {
			d.Fact, d.Outcome = analytics.JobEnded, string(r.State)
			deltas = append(deltas, d)
		}
	}
	return deltas
}
