package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// Retention removes what is older than it must be kept, a day's partition at a
// time, so that the disk shrinks and no dead rows are left behind.
//
// A day of which nothing is to be kept is dropped. Of another one the survivors
// are copied to a new table that takes the partition's place; see part.rewrite.
// The copy of a day in which much stays would cost more than it frees, so it waits
// until half of its rows can go.
//
// The jobs of a day go first. An attempt is kept for as long as its job is, and an
// event at least for as long as a job that refers to it, so each step leaves the
// day whole, and a pass that was killed is taken up by the next where it stopped.
// The counts of analytics are not touched.
type Retention struct {
	DB     *pg.DB
	Log    *slog.Logger
	Keep   Periods            // of jobs
	Queues map[string]Periods // of the jobs of queues that have their own
	Events time.Duration      // zero: for ever
	// Exchanges is how long requests and responses are kept after their attempt; zero
	// is for as long as the job is, and so is a period longer than the job's.
	Exchanges time.Duration

	again   map[string]time.Time // when to look next at a partition of which much stays
	expired map[string]time.Time // when to look next at one of which no exchange is young
}

// Periods is how long jobs are kept after their end; zero is for ever. Jobs that
// have not ended are kept in any case.
type Periods struct {
	Succeeded time.Duration
	Failed    time.Duration // or canceled
}

const (
	// retainEvery is the time between two passes.
	retainEvery = time.Hour
	// lookAgain is the longest time until a partition that was not worth a copy is
	// counted again.
	lookAgain = 24 * time.Hour
)

// Run makes a pass at once and then every hour until ctx ends.
func (r *Retention) Run(ctx context.Context) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		if err := r.Pass(ctx); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "old rows could not be removed; trying again in an hour", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass removes what may go by the database's clock, from the oldest day on.
func (r *Retention) Pass(ctx context.Context) error {
	now, err := pg.Now(ctx, r.DB)
	if err != nil {
		return err
	}
	days, err := partitionDays(ctx, r.DB)
	if err != nil {
		return err
	}
	// A table that somebody holds is not asked for again with each of its days.
	held := map[string]bool{}
	var problems []error
	for _, d := range days {
		for _, p := range r.due(d, now) {
			if held[p.table] {
				continue
			}
			held[p.table], err = r.thin(ctx, p, now)
			if err == nil {
				continue
			}
			problems = append(problems, fmt.Errorf("thin out %s: %w", p.name(), err))
			// What is wrong with one day holds up no other, unless it is the database.
			if r.DB.PingContext(ctx) != nil {
				return errors.Join(problems...)
			}
		}
	}
	if shortest := r.shortest(); shortest > 0 {
		problems = append(problems, forgetUnique(ctx, r.DB, now.Add(-shortest)))
	}
	problems = append(problems, r.expireExchanges(ctx, days, now)) // of what stays
	return errors.Join(problems...)
}

// due gives the partitions of a day that something may go of. All of a day's jobs
// are at least as old as its last moment.
func (r *Retention) due(d partitionDay, now time.Time) []part {
	age := now.Sub(d.day.Add(24 * time.Hour))
	var parts []part
	if shortest := r.shortest(); shortest > 0 && age >= shortest {
		if d.tables["jobs"] {
			parts = append(parts, r.jobsOf(d))
		}
		if d.tables["attempts"] {
			parts = append(parts, attemptsOf(d))
		}
	}
	if r.Events > 0 && age >= r.Events && d.tables["events"] {
		parts = append(parts, r.eventsOf(d, now))
	}
	return parts
}

// shortest is the shortest period that any job is kept; zero when all are kept for
// ever.
func (r *Retention) shortest() time.Duration {
	var shortest time.Duration
	consider := func(p Periods) {
		for _, d := range []time.Duration{p.Succeeded, p.Failed} {
			if d > 0 && (shortest == 0 || d < shortest) {
				shortest = d
			}
		}
	}
	consider(r.Keep)
	for _, p := range r.Queues {
		consider(p)
	}
	return shortest
}

// thin removes what may go of a partition, if it is worth it. One whose lock could
// not be had is left for the next pass.
func (r *Retention) thin(ctx context.Context, p part, now time.Time) (held bool, err error) {
	if now.Before(r.again[p.name()]) {
		return false, nil
	}
	delete(r.again, p.name())
	kept, removed, err := p.thin(ctx, r.DB)
	switch {
	case errors.Is(err, errNotWorth):
		if r.again == nil {
			r.again = map[string]time.Time{}
		}
		r.again[p.name()] = now.Add(min(lookAgain, max(r.shortest(), retainEvery)))
		return false, nil
	case gaveWay(err):
		r.Log.InfoContext(ctx, "old rows are in use; trying again in an hour", "table", p.name(), "error", err)
		return !errors.Is(err, errInUse), nil
	case err != nil:
		return false, err
	}
	if removed > 0 {
		r.Log.InfoContext(ctx, "old rows removed", "table", p.name(), "removed", removed, "kept", kept)
	}
	return false, nil
}

// liveJobs are the jobs from $1 to before $2 that have not ended.
const liveJobs = `
    SELECT job_id FROM signalstack.ready WHERE job_id >= $1 AND job_id < $2
    UNION ALL SELECT job_id FROM signalstack.scheduled WHERE job_id >= $1 AND job_id < $2
    UNION ALL SELECT job_id FROM signalstack.running WHERE job_id >= $1 AND job_id < $2
    UNION ALL SELECT job_id FROM signalstack.ordered WHERE job_id >= $1 AND job_id < $2
    UNION ALL SELECT job_id FROM signalstack.blocked WHERE job_id >= $1 AND job_id < $2`

// keptJobs are the jobs to keep. One that neither lives nor has a final attempt
// should not be; it is kept for whoever looks into it. One step of the primary key
// of attempts for each job, in the day's partition only.
const keptJobs = `
WITH live AS MATERIALIZED (` + liveJobs + `
)
SELECT j.id FROM signalstack.jobs AS j
LEFT JOIN LATERAL (
    SELECT a.state, a.finished_at FROM signalstack.attempts AS a
    WHERE a.job_id = j.id AND a.job_id >= $1 AND a.job_id < $2 ORDER BY a.lease DESC LIMIT 1
) AS newest ON true
LEFT JOIN unnest($3::text[], $4::bigint[], $5::bigint[]) AS own (queue, succeeded, failed) ON own.queue = j.queue
CROSS JOIN LATERAL (
    SELECT CASE newest.state WHEN 'succeeded' THEN coalesce(own.succeeded, $6::bigint) ELSE coalesce(own.failed, $7::bigint) END AS ms
) AS period
WHERE j.id >= $1 AND j.id < $2
  AND (newest.state IS NULL OR newest.state = 'retrying' OR period.ms = 0
       OR newest.finished_at > now() - period.ms * interval '1 millisecond' OR j.id IN (SELECT job_id FROM live))`

func (r *Retention) jobsOf(d partitionDay) part {
	var queues pq.StringArray
	var succeeded, failed pq.Int64Array
	for name, p := range r.Queues {
		queues, succeeded, failed = append(queues, name), append(succeeded, p.Succeeded.Milliseconds()), append(failed, p.Failed.Milliseconds())
	}
	p := part{table: "jobs", day: d.day, watched: []string{"jobs"}, keep: keptJobs}
	p.keepArgs = []any{queues, succeeded, failed, r.Keep.Succeeded.Milliseconds(), r.Keep.Failed.Milliseconds()}
	// A job that was taken up again lives now, or it has ended and left an attempt.
	p.late = liveJobs
	if d.tables["attempts"] {
		p.watched = append(p.watched, "attempts")
	}
	return p
}

func attemptsOf(d partitionDay) part {
	return part{
		table: "attempts", day: d.day, watched: []string{"attempts"}, goesAfter: "jobs",
		keep: `SELECT id FROM signalstack.jobs WHERE id >= $1 AND id < $2`,
	}
}

// eventsOf looks at the events' own time, because their ids are as old as the
// clock of the process that made them.
func (r *Retention) eventsOf(d partitionDay, now time.Time) part {
	return part{
		table: "events", day: d.day, watched: []string{"events"},
		// A type may have a period of its own. A longer one is kept to here; of a shorter
		// one the events are deleted before, and what is left has a job.
		keep: `
			SELECT e.id FROM signalstack.events AS e
			LEFT JOIN signalstack.event_types AS t ON (t.tenant, t.type) = (e.tenant, e.type)
			WHERE e.id >= $1 AND e.id < $2
			  AND (t.retention_ms = 0 OR e.received_at > now() - coalesce(t.retention_ms, $3::bigint) * interval '1 millisecond')
			UNION
			SELECT event_id FROM signalstack.jobs WHERE event_id >= $1 AND event_id < $2`,
		keepArgs: []any{r.Events.Milliseconds()},
		// A replay makes new jobs of old events; they lie in the newest partitions.
		late:     `SELECT event_id FROM signalstack.jobs WHERE id >= $3 AND event_id >= $1 AND event_id < $2`,
		lateArgs: []any{FirstID(now.Add(-24 * time.Hour))},
	}
}

// forgetBatch bounds one DELETE, so that it blocks nobody for long.
const forgetBatch = 5000

// forgetUnique frees the unique keys of jobs that are gone.
func forgetUnique(ctx context.Context, q pg.Querier, before time.Time) error {
	for {
		// By the index unique_jobs_job. A key that goes over to another job meanwhile
		// has another place (ctid) and stays.
		res, err := q.ExecContext(ctx, `
			DELETE FROM signalstack.unique_jobs
			WHERE ctid = ANY (ARRAY(
			    SELECT u.ctid FROM signalstack.unique_jobs AS u
			    WHERE u.job_id < $1 AND NOT EXISTS (SELECT FROM signalstack.jobs AS j WHERE j.id = u.job_id)
			    LIMIT $2))`, FirstID(before), forgetBatch)
		if err != nil {
			return fmt.Errorf("forget unique keys: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n < forgetBatch {
			return err
		}
	}
}

// part is a partition to be thinned out. Rows may be added at any time: attempts of a
// job that lives for long or was taken up again, and what a process writes whose clock
// is wrong. They are changed by nothing but erasing, of data or of an old exchange,
// which must hold of the copy too.
type part struct {
	table     string
	day       time.Time
	watched   []string // tables whose new rows of the day may change what is kept
	goesAfter string   // the table whose partition must be gone before this one may go

	// keep gives the keys to keep of those from $1 to before $2; its own arguments
	// come after them.
	keep     string
	keepArgs []any
	// late gives keys of the day, from $1 to before $2, that have to be kept as well
	// since they were looked at. It runs under the lock, so it must be quick.
	late     string
	lateArgs []any
}

var (
	// errNotWorth says that too much of a partition is to be kept.
	errNotWorth = errors.New("too much is to be kept")
	// errInUse says that somebody else works on the day, or has added to it.
	errInUse = errors.New("the day is in use")
)

// gaveWay says whether a partition was left alone for now: a lock could not be had
// soon, or another process has put a new partition in its place.
func gaveWay(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return errors.Is(err, errInUse) || ok && (e.Code == "55P03" || e.Code == "42P01") // lock_not_available, undefined_table
}

func (p part) name() string { return partitionName(p.table, p.day) }

func (p part) key() string { return keyOf(p.table) }

// keyOf is the column with the UUIDv7.
func keyOf(table string) string {
	if table == "attempts" {
		return "job_id"
	}
	return "id"
}

// bounds are the keys of the day, from the first to before the second.
func (p part) bounds() (from, to uuid.UUID) {
	return FirstID(p.day), FirstID(p.day.Add(24 * time.Hour))
}

// thin removes what may go of the partition, and says how many rows stay and how
// many went.
func (p part) thin(ctx context.Context, db *pg.DB) (kept, removed int, err error) {
	// Before the rows are looked at, so that nothing slips in between.
	for _, table := range p.watched {
		if err := watch(ctx, db, table, p.day); err != nil {
			return 0, 0, err
		}
	}
	rows, kept, err := p.count(ctx, db)
	if err != nil {
		return 0, 0, err
	}
	first, err := p.isFirst(ctx, db)
	switch {
	case err != nil:
		return 0, 0, err
	case kept == 0 && first:
		return 0, rows, p.drop(ctx, db)
	case rows == 0:
		return 0, 0, nil
	case kept > rows/2:
		return 0, 0, errNotWorth
	}
	return kept, rows - kept, p.rewrite(ctx, db, rows)
}

// isFirst says whether nothing of the day must go before this partition.
func (p part) isFirst(ctx context.Context, q pg.Querier) (bool, error) {
	if p.goesAfter == "" {
		return true, nil
	}
	var gone bool
	if err := q.GetContext(ctx, &gone, `SELECT to_regclass($1) IS NULL`, partitionName(p.goesAfter, p.day)); err != nil {
		return false, fmt.Errorf("look for partition: %w", err)
	}
	return gone, nil
}

// countStep is how many keys are looked at in one statement, which must end long
// before its timeout.
const countStep = 20_000

// walk calls do for one stretch of keys of the partition after the other.
func (p part) walk(ctx context.Context, q pg.Querier, step int, do func(from, to uuid.UUID) error) error {
	from, end := p.bounds()
	for from != end {
		to := end
		err := q.GetContext(ctx, &to, fmt.Sprintf(
			`SELECT %[2]s FROM %[1]s WHERE %[2]s > $1 ORDER BY %[2]s OFFSET $2 LIMIT 1`, p.name(), p.key()), from, step)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("find keys: %w", err)
		}
		if err := do(from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

func (p part) count(ctx context.Context, q pg.Querier) (rows, kept int, err error) {
	err = p.walk(ctx, q, countStep, func(from, to uuid.UUID) error {
		var n struct{ Rows, Kept int }
		err := q.GetContext(ctx, &n, fmt.Sprintf(`
			SELECT count(*) AS rows, count(k.key) AS kept
			FROM %[1]s AS p LEFT JOIN (%[3]s) AS k (key) ON k.key = p.%[2]s
			WHERE p.%[2]s >= $1 AND p.%[2]s < $2`, p.name(), p.key(), p.keep), append([]any{from, to}, p.keepArgs...)...)
		if err != nil {
			return fmt.Errorf("count rows: %w", err)
		}
		rows, kept = rows+n.Rows, kept+n.Kept
		return nil
	})
	return rows, kept, err
}
