package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// operated is what an operator's act needs to know of a job.
type operated struct {
	ID          uuid.UUID     `db:"id"`
	Tenant      string        `db:"tenant"`
	Kind        string        `db:"kind"`
	Queue       string        `db:"queue"`
	Lane        string        `db:"lane"`
	Priority    int           `db:"priority"`
	EventType   string        `db:"event_type"`
	EndpointID  uuid.NullUUID `db:"endpoint_id"`
	OrderingKey string        `db:"ordering_key"`
	Skips       bool          `db:"skips"`
}

// take locks a job against other operators' acts. Workers do not lock the jobs row,
// so it holds up none of them.
func take(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) (operated, error) {
	var j operated
	err := tx.GetContext(ctx, &j, `
		SELECT id, tenant, kind, queue, lane, priority, event_type, endpoint_id, ordering_key, skips
		FROM signalstack.jobs WHERE id = $1 FOR UPDATE`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return operated{}, fault.Missing("job", id.String())
	}
	if err != nil {
		return operated{}, fmt.Errorf("lock job: %w", err)
	}
	return j, nil
}

func (j *operated) keys() []orderingKey {
	if j.OrderingKey == "" {
		return nil
	}
	return []orderingKey{{j.Tenant, j.OrderingKey}}
}

func (j *operated) delta(fact analytics.Fact, outcome string) analytics.Delta {
	return analytics.Delta{
		Fact: fact, Tenant: j.Tenant, Outcome: outcome, Kind: j.Kind, Queue: j.Queue, Type: j.EventType, EndpointID: j.EndpointID.UUID,
	}
}

// operateTries bounds how often an act is tried on a job that moves meanwhile.
const operateTries = 5

// errMoved says that a job went from one table to another while we looked.
var errMoved = errors.New("the job moved meanwhile")

// Cancel cancels a job that waits at once. Of one that runs it asks its worker,
// which ends the attempt's context within two seconds; the state is then still
// Running. A job that has ended is a Conflict.
func Cancel(ctx context.Context, db *pg.DB, id uuid.UUID) (State, error) {
	var state State
	err := operate(ctx, db, id, func(tx *sqlx.Tx, j operated) error {
		canceled, err := cancelWaiting(ctx, tx, j, "")
		if err != nil || canceled {
			state = Canceled
			return err
		}
		state = Running
		return cancelRunning(ctx, tx, j.ID)
	})
	return state, err
}

// CancelWaiting cancels a job in the caller's transaction if it waits, and says
// whether it did. One that moves meanwhile, as its turn or its time comes, waits
// still: it is looked for again.
func CancelWaiting(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) (bool, error) {
	j, err := take(ctx, tx, id)
	if err != nil {
		return false, err
	}
	return cancelWhileWaiting(ctx, tx, j, "")
}

// CancelIn is Cancel in the caller's transaction. That a job has ended or is gone is
// no mistake.
func CancelIn(ctx context.Context, tx *sqlx.Tx, id uuid.UUID, why string) error {
	j, err := take(ctx, tx, id)
	if f := fault.As(err); f != nil && f.Kind == fault.NotFound {
		return nil
	}
	for try := 1; err == nil; try++ {
		var canceled bool
		if canceled, err = cancelWhileWaiting(ctx, tx, j, why); err != nil || canceled {
			return err
		}
		err = cancelRunning(ctx, tx, id)
		if f := fault.As(err); err == nil || f != nil && f.Kind == fault.Conflict {
			return nil
		}
		if errors.Is(err, errMoved) && try < operateTries {
			err = nil
		}
	}
	return err
}

// cancelWhileWaiting cancels a locked job that waits, however it moves meanwhile.
func cancelWhileWaiting(ctx context.Context, tx *sqlx.Tx, j operated, why string) (bool, error) {
	for try := 1; ; try++ {
		canceled, err := cancelWaiting(ctx, tx, j, why)
		if err != nil || canceled || try == operateTries {
			return canceled, err
		}
		var waits bool
		if err := tx.GetContext(ctx, &waits, `
			SELECT EXISTS (SELECT FROM signalstack.ready WHERE job_id = $1) OR EXISTS (SELECT FROM signalstack.scheduled WHERE job_id = $1)`,
			j.ID); err != nil {
			return false, fmt.Errorf("look for waiting job: %w", err)
		}
		if !waits {
			return false, nil
		}
	}
}

// operate runs an act on a locked job, again when the job moved.
func operate(ctx context.Context, db *pg.DB, id uuid.UUID, act func(*sqlx.Tx, operated) error) error {
	for try := 1; ; try++ {
		err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
			j, err := take(ctx, tx, id)
			if err != nil {
				return err
			}
			return act(tx, j)
		})
		if !errors.Is(err, errMoved) || try == operateTries {
			return err
		}
	}
}

func cancelWaiting(ctx context.Context, tx *sqlx.Tx, j operated, why string) (bool, error) {
	// A claim that has the row is waited for: then it is gone from here.
	// A job that skips and has failed before has no turn to pass on.
	var canceled []bool // whether it had its turn, of the job
	err := tx.SelectContext(ctx, &canceled, `
		WITH r AS (
		    DELETE FROM signalstack.ready WHERE job_id = $1 RETURNING attempt, lease, attempt = 0 OR NOT $3 AS turn
		), s AS (
		    DELETE FROM signalstack.scheduled WHERE job_id = $1 RETURNING attempt, lease, attempt = 0 OR NOT $3
		), o AS (
		    DELETE FROM signalstack.ordered WHERE job_id = $1 RETURNING 0, lease, false
		), b AS (
		    DELETE FROM signalstack.blocked WHERE job_id = $1 RETURNING 0, 0::bigint, false
		), waiting AS (
		    SELECT * FROM r UNION ALL SELECT * FROM s UNION ALL SELECT * FROM o UNION ALL SELECT * FROM b
		), forgotten AS (
		    DELETE FROM signalstack.dependencies WHERE after_id = $1 AND EXISTS (SELECT FROM b)
		), late AS (
		    DELETE FROM signalstack.cancels WHERE job_id = $1 AND EXISTS (SELECT FROM waiting)
		), recorded AS (
		    INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
		    SELECT $1, lease + 1, attempt, 'canceled', 'canceled', $2, NULL, now(), now(), 0
		    FROM waiting
		), followed AS (
		    `+markFollowed("(SELECT $1::uuid AS job_id FROM waiting)", "true")+`
		)
		SELECT turn FROM waiting`, j.ID, why, j.Skips)
	if err != nil {
		return false, fmt.Errorf("cancel waiting job: %w", err)
	}
	if len(canceled) == 0 {
		return false, nil
	}
	if canceled[0] {
		if err := advance(ctx, tx, j.keys()); err != nil {
			return false, err
		}
	}
	return true, analytics.Record(ctx, tx, []analytics.Delta{j.delta(analytics.JobEnded, string(Canceled))})
}

func cancelRunning(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) error {
	res, err := tx.ExecContext(ctx, `
		WITH held AS (
		    SELECT job_id FROM signalstack.running WHERE job_id = $1 FOR UPDATE
		), asked AS (
		    INSERT INTO signalstack.cancels (job_id, requested_at) SELECT job_id, now() FROM held
		    ON CONFLICT (job_id) DO UPDATE SET requested_at = cancels.requested_at
		    RETURNING job_id
		)
		SELECT pg_notify($2, 'cancel' || E'\t' || job_id) FROM asked`, id, Channel)
	if err != nil {
		return fmt.Errorf("cancel running job: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, notThere(ctx, tx, id))
	}
	return nil
}

// notThere says why a job is neither waiting nor running.
func notThere(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) error {
	state, err := endedAs(ctx, tx, id)
	switch {
	case err != nil:
		return err
	case state == "":
		return errMoved
	}
	return fault.New(fault.Conflict, "job_ended", "The job is %s already.", state)
}

// endedAs gives the final state of a job, or "" when it has not ended.
func endedAs(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) (State, error) {
	var state State
	err := tx.GetContext(ctx, &state, `
		SELECT coalesce((
		    SELECT CASE WHEN EXISTS (`+Living("$1")+`) THEN '' ELSE nullif(state, 'retrying') END
		    FROM signalstack.attempts WHERE job_id = $1 ORDER BY lease DESC LIMIT 1), '')`, id)
	if err != nil {
		return "", fmt.Errorf("read state of job: %w", err)
	}
	return state, nil
}

// Retry takes up a job again that has ended, with all its attempts before it. One
// that has not is a Conflict. In the order of its key it is a new one: it comes last.
func Retry(ctx context.Context, db *pg.DB, id uuid.UUID) error {
	return operate(ctx, db, id, func(tx *sqlx.Tx, j operated) error {
		state, err := endedAs(ctx, tx, id)
		if err != nil {
			return err
		}
		if state == "" {
			return fault.New(fault.Conflict, "job_not_ended", "The job has not ended; it goes on by itself.")
		}
		if err := hasData(ctx, tx, j); err != nil {
			return err
		}
		if err := refuseUnmade(ctx, tx, id); err != nil {
			return err
		}
		// The lease goes on from the last one, so that no old attempt can write.
		_, err = tx.ExecContext(ctx, `
			WITH job AS (
			    SELECT *, (SELECT max(lease) FROM signalstack.attempts WHERE job_id = $1) AS lease FROM signalstack.jobs WHERE id = $1
			), idle AS (
			    INSERT INTO signalstack.ordering_keys AS k (tenant, ordering_key)
			    SELECT tenant, ordering_key FROM job WHERE ordering_key <> ''`+lockKey+`
			), in_order AS (
			    INSERT INTO signalstack.ordered (job_id, tenant, ordering_key, queue, lane, priority, run_at, lease)
			    SELECT id, tenant, ordering_key, queue, lane, priority, now(), lease FROM job
			    WHERE ordering_key <> '' AND NOT EXISTS (SELECT FROM idle)
			), due AS (
			    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
			    SELECT id, queue, lane, priority, now(), 0, lease FROM job WHERE ordering_key = '' OR EXISTS (SELECT FROM idle)
			    RETURNING queue, lane
			)
			SELECT signalstack.notify_ready(queue, array_agg(lane)) FROM due GROUP BY queue`, id)
		if err != nil {
			return fmt.Errorf("take up job again: %w", err)
		}
		return analytics.Record(ctx, tx, []analytics.Delta{j.delta(analytics.JobReopened, "")})
	})
}

// Change is what can be changed of a job that waits. Nil stays as it is.
type Change struct {
	Priority *int
	RunAt    *time.Time
}

// Apply changes a job that waits. One that runs or has ended is a Conflict.
func (c Change) Apply(ctx context.Context, db *pg.DB, id uuid.UUID) error {
	return operate(ctx, db, id, func(tx *sqlx.Tx, j operated) error {
		var changed int
		err := tx.GetContext(ctx, &changed, `
			WITH r AS (
			    DELETE FROM signalstack.ready WHERE job_id = $1 RETURNING job_id, queue, lane, priority, ready_at AS run_at, attempt, lease
			), s AS (
			    DELETE FROM signalstack.scheduled WHERE job_id = $1 RETURNING job_id, queue, lane, priority, run_at, attempt, lease
			), behind AS (
			    UPDATE signalstack.ordered SET priority = coalesce($2, priority), run_at = coalesce($3, run_at)
			    WHERE job_id = $1 RETURNING job_id
			), blocked AS (
			    UPDATE signalstack.blocked SET priority = coalesce($2, priority), run_at = coalesce($3, run_at),
			        delay_us = CASE WHEN $3::timestamptz IS NULL THEN delay_us ELSE 0 END
			    WHERE job_id = $1 RETURNING job_id
			), w AS (
			    SELECT job_id, queue, lane, coalesce($2, priority) AS priority, coalesce($3, run_at) AS run_at, attempt, lease
			    FROM (SELECT * FROM r UNION ALL SELECT * FROM s) AS waiting
			), later AS (
			    INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease)
			    SELECT * FROM w WHERE run_at > now() RETURNING run_at
			), due AS (
			    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
			    SELECT job_id, queue, lane, priority, now(), attempt, lease FROM w WHERE run_at <= now() RETURNING queue, lane
			), told AS (`+tellDueAndLater+`)
			SELECT (SELECT count(*) FROM w) + (SELECT count(*) FROM behind) + (SELECT count(*) FROM blocked) + 0 * (SELECT count(*) FROM told)`, id, c.Priority, c.RunAt)
		if err != nil {
			return fmt.Errorf("change job: %w", err)
		}
		if changed > 0 {
			return nil
		}
		var running bool
		if err := tx.GetContext(ctx, &running, `SELECT EXISTS (SELECT FROM signalstack.running WHERE job_id = $1)`, j.ID); err != nil {
			return fmt.Errorf("read state of job: %w", err)
		}
		if running {
			return fault.New(fault.Conflict, "job_running", "The job is running; its priority and time mean nothing any more.")
		}
		return notThere(ctx, tx, id)
	})
}

// Wanted gives those of the running jobs that somebody wants canceled.
func Wanted(ctx context.Context, q pg.Querier, running []uuid.UUID) ([]uuid.UUID, error) {
	ids := make(pq.StringArray, len(running))
	for i, id := range running {
		ids[i] = id.String()
	}
	var wanted []uuid.UUID
	if err := q.SelectContext(ctx, &wanted, `SELECT job_id FROM signalstack.cancels WHERE job_id = ANY ($1::uuid[])`, ids); err != nil {
		return nil, fmt.Errorf("look for cancels: %w", err)
	}
	return wanted, nil
}
