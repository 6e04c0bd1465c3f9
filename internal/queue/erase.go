package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
)

// errorErased is the error of a job that was canceled because the data of its event
// was erased, and what stands for the errors of its attempts, which may quote the data.
const errorErased = "The data of its event was erased."

// Erase takes the data of events out of their jobs: what they were to work on, what
// was sent and received, and errors. A job that waits is canceled; of one that runs
// the worker is asked to stop, and its event is in the answer: what the worker writes
// at the end is to be erased too, by the same again. The caller has locked the events.
func Erase(ctx context.Context, tx *sqlx.Tx, events []uuid.UUID) (running map[uuid.UUID]bool, err error) {
	jobs, err := lockJobsOf(ctx, tx, events)
	if err != nil {
		return nil, err
	}
	living, err := livingJobs(ctx, tx, jobs)
	if err != nil {
		return nil, err
	}
	for _, j := range living {
		canceled, err := cancelWhileWaiting(ctx, tx, j.operated, errorErased)
		if err == nil && !canceled {
			err = cancelRunning(ctx, tx, j.ID)
		}
		f := fault.As(err)
		if ended := f != nil && f.Kind == fault.Conflict; err != nil && !ended && !errors.Is(err, errMoved) {
			return nil, err
		}
	}
	// In this order: an attempt that is not there yet belongs to a job that still runs.
	if living, err = livingJobs(ctx, tx, jobs); err != nil {
		return nil, err
	}
	running = map[uuid.UUID]bool{}
	for _, j := range living {
		running[j.EventID] = true
	}
	return running, strip(ctx, tx, jobs)
}

// Forget does the same to jobs whose events are to be deleted, unless one of them has
// not ended: such events are in the answer and nothing is done to them.
func Forget(ctx context.Context, tx *sqlx.Tx, events []uuid.UUID) (living map[uuid.UUID]bool, err error) {
	jobs, err := lockJobsOf(ctx, tx, events)
	if err != nil {
		return nil, err
	}
	alive, err := livingJobs(ctx, tx, jobs)
	if err != nil {
		return nil, err
	}
	living = map[uuid.UUID]bool{}
	for _, j := range alive {
		living[j.EventID] = true
	}
	var ended []jobOfEvent
	for _, j := range jobs {
		if !living[j.EventID] {
			ended = append(ended, j)
		}
	}
	return living, strip(ctx, tx, ended)
}

// jobOfEvent is a job that an event made.
type jobOfEvent struct {
	operated
	EventID uuid.UUID `db:"event_id"`
}

// lockJobsOf locks the jobs of events against operators' acts, as take does: none of
// them is taken up again meanwhile. By the index jobs_event of each day.
func lockJobsOf(ctx context.Context, tx *sqlx.Tx, events []uuid.UUID) ([]jobOfEvent, error) {
	var jobs []jobOfEvent
	err := tx.SelectContext(ctx, &jobs, `
		SELECT event_id, id, tenant, kind, queue, lane, priority, event_type, endpoint_id, ordering_key, skips
		FROM signalstack.jobs WHERE event_id = ANY ($1::uuid[])
		ORDER BY id FOR UPDATE`, arrayOf(events))
	if err != nil {
		return nil, fmt.Errorf("lock jobs of events: %w", err)
	}
	return jobs, nil
}

func arrayOf(ids []uuid.UUID) pq.StringArray {
	texts := make(pq.StringArray, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return texts
}

func idsOf(jobs []jobOfEvent) pq.StringArray {
	ids := make([]uuid.UUID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	return arrayOf(ids)
}

// livingJobs gives those of the jobs that have not ended.
func livingJobs(ctx context.Context, tx *sqlx.Tx, jobs []jobOfEvent) ([]jobOfEvent, error) {
	ids := make([]uuid.UUID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	is, err := Unfinished(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	var living []jobOfEvent
	for _, j := range jobs {
		if is[j.ID] {
			living = append(living, j)
		}
	}
	return living, nil
}

// strip empties what jobs and their attempts hold of the data of an event.
func strip(ctx context.Context, tx *sqlx.Tx, jobs []jobOfEvent) error {
	if len(jobs) == 0 {
		return nil
	}
	ids := idsOf(jobs)
	if _, err := tx.ExecContext(ctx, `UPDATE signalstack.jobs SET payload = NULL WHERE id = ANY ($1::uuid[]) AND payload IS NOT NULL`, ids); err != nil {
		return fmt.Errorf("empty payloads: %w", err)
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE signalstack.attempts SET exchange = NULL, error = CASE error WHEN '' THEN '' ELSE $2 END
		WHERE job_id = ANY ($1::uuid[]) AND (exchange IS NOT NULL OR error NOT IN ('', $2))`, ids, errorErased)
	if err != nil {
		return fmt.Errorf("empty attempts: %w", err)
	}
	return nil
}

// hasData refuses to take up a job whose event has no data any more.
func hasData(ctx context.Context, tx *sqlx.Tx, j operated) error {
	var gone bool
	err := tx.GetContext(ctx, &gone, `
		SELECT e.id IS NULL OR e.erased_at IS NOT NULL
		FROM signalstack.jobs AS j LEFT JOIN signalstack.events AS e ON e.id = j.event_id
		WHERE j.id = $1 AND j.event_id IS NOT NULL`, j.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil // no event made it
	case err != nil:
		return fmt.Errorf("look for event of job: %w", err)
	case gone:
		return fault.New(fault.Conflict, "event_erased", "The data of the job's event was erased, or is not kept any more; the job cannot run again.")
	}
	return nil
}
