package analytics

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// Folder adds deltas to the rollups and drops old minutes. Any number of them may
// run at once: one folds, the others find nothing to do.
type Folder struct {
	DB  *pg.DB
	Log *slog.Logger

	lastDrop time.Time
	folded   int // since the last vacuum
}

const (
	// foldEvery is the mean time between two passes.
	foldEvery = 2 * time.Second
	// foldBatch bounds one pass; the next follows at once while there is more.
	foldBatch = 20_000
	// vacuumAfter is how many deltas are folded before their places are freed. Every
	// reader walks over them until then, and autovacuum looks once a minute.
	vacuumAfter = 10_000
	// foldLock is the advisory lock of the one who folds.
	foldLock = 0x5369676e616c0001

	// minutesKept is for how long a question by the minute is answered.
	minutesKept = 7 * 24 * time.Hour
	// dropEvery is how often minutes are dropped that are older than that and an
	// hour, so that none is missing in an answer that has begun.
	dropEvery = 10 * time.Minute
	dropAfter = minutesKept + time.Hour
	dropBatch = 10_000
)

// Run folds until ctx ends.
func (f *Folder) Run(ctx context.Context) error {
	wait := time.NewTimer(jittered(foldEvery))
	defer wait.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		err := f.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && failures > 0:
			failures = 0
			f.Log.InfoContext(ctx, "folding analytics again")
		case err != nil:
			if failures++; failures == 1 {
				f.Log.WarnContext(ctx, "analytics could not be folded; counts stay exact, trying again until it works", "error", err)
			}
		}
		wait.Reset(jittered(foldEvery))
	}
}

// jittered keeps the processes of a fleet from passing in step.
func jittered(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // nobody gains by guessing when a pass begins
}

// pass folds all there is and, now and then, frees the places of what was folded
// and drops old minutes.
func (f *Folder) pass(ctx context.Context) error {
	for {
		n, err := Fold(ctx, f.DB)
		if err != nil {
			return err
		}
		f.folded += n
		if n < foldBatch {
			break
		}
	}
	if f.folded >= vacuumAfter {
		f.folded = 0
		// The file keeps its length: to cut it would lock out those who record.
		if _, err := f.DB.ExecContext(ctx, `VACUUM (TRUNCATE false, SKIP_LOCKED) signalstack.analytics_deltas`); err != nil {
			return fmt.Errorf("vacuum deltas: %w", err)
		}
	}
	if time.Since(f.lastDrop) < dropEvery {
		return nil
	}
	f.lastDrop = time.Now()
	return dropMinutes(ctx, f.DB)
}

// foldSQL moves deltas into all rollups. It is one statement, and with it one
// transaction: at any moment a fact is either in the deltas or in the rollups.
//
// Who does not get the lock takes nothing. It is tried after the snapshot was
// taken, so the rows seen may have been folded since; a DELETE passes over rows
// that are gone, so none is folded twice. The upserts go in the order of the key,
// so two of them could not wait for each other in a circle even without the lock.
const foldSQL = `
WITH one AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock($1) AS folds
), gone AS (
    DELETE FROM signalstack.analytics_deltas
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM signalstack.analytics_deltas WHERE (SELECT folds FROM one) LIMIT $2))
    RETURNING at, fact, tenant, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us
), cells AS MATERIALIZED (
    SELECT g.grain, fact, date_bin(make_interval(mins => g.grain), at, '2000-01-01Z') AS start,
           tenant, outcome, kind, queue, type, endpoint_id, bucket, sum(n)::bigint AS n, sum(sum_us)::bigint AS sum_us
    FROM gone CROSS JOIN (VALUES (1), (15), (60), (1440)) AS g (grain)
    GROUP BY g.grain, fact, start, tenant, outcome, kind, queue, type, endpoint_id, bucket
), folded AS (
    INSERT INTO signalstack.analytics_rollups AS r (grain, fact, at, tenant, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us)
    SELECT grain, fact, start, tenant, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us
    FROM cells
    ORDER BY grain, fact, start, tenant, outcome, kind, queue, type, endpoint_id, bucket
    ON CONFLICT (grain, fact, at, tenant, outcome, kind, queue, type, endpoint_id, bucket)
    DO UPDATE SET n = r.n + excluded.n, sum_us = r.sum_us + excluded.sum_us
), totalled AS (
    INSERT INTO signalstack.analytics_totals AS r (grain, fact, at, tenant, outcome, bucket, n, sum_us)
    SELECT grain, fact, start, tenant, outcome, bucket, sum(n)::bigint, sum(sum_us)::bigint
    FROM cells
    GROUP BY grain, fact, start, tenant, outcome, bucket
    ORDER BY grain, fact, start, tenant, outcome, bucket
    ON CONFLICT (grain, fact, at, tenant, outcome, bucket)
    DO UPDATE SET n = r.n + excluded.n, sum_us = r.sum_us + excluded.sum_us
)
SELECT count(*) FROM gone`

// Fold adds up to foldBatch deltas to the rollups and says how many.
func Fold(ctx context.Context, q pg.Querier) (int, error) {
	var n int
	if err := q.GetContext(ctx, &n, foldSQL, int64(foldLock), foldBatch); err != nil {
		return 0, fmt.Errorf("fold deltas: %w", err)
	}
	return n, nil
}

// dropMinutes deletes the minutes that no question may ask for any more; all
// coarser grains stay.
func dropMinutes(ctx context.Context, q pg.Querier) error {
	for _, table := range []string{"analytics_minutes", "analytics_totals"} {
		for {
			// Each fact has a range of the index of its own.
			res, err := q.ExecContext(ctx, `
				DELETE FROM signalstack.`+table+`
				WHERE ctid = ANY (ARRAY(
				    SELECT ctid FROM signalstack.`+table+`
				    WHERE grain = 1 AND fact IN ('event', 'event_warned', 'job_created', 'attempt', 'job', 'job_reopened') AND at < now() - $1 * interval '1 second'
				    LIMIT $2 FOR UPDATE SKIP LOCKED))`, int64(dropAfter.Seconds()), dropBatch)
			if err != nil {
				return fmt.Errorf("drop old minutes: %w", err)
			}
			n, err := res.RowsAffected()
			if err != nil {
				return fmt.Errorf("drop old minutes: %w", err)
			}
			if n < dropBatch {
				break
			}
		}
	}
	return nil
}
