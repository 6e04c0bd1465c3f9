package schedules

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// The states of a fire.
const (
	made    = "made"
	queued  = "queued"
	skipped = "skipped"
	failed  = "failed"
)

// Maker makes what schedules fire.
type Maker struct {
	Kinds  *jobs.Registry
	Events *events.Writer
}

// make writes fires, and the jobs and events of those that are to be made, in the
// caller's transaction. A fire that is written already is dropped: the primary key
// says that each is once.
func (m *Maker) make(ctx context.Context, tx *sqlx.Tx, fires []*fire) error {
	if len(fires) == 0 {
		return nil
	}
	for _, f := range fires {
		if f.state != made {
			continue
		}
		if err := f.build(m.Kinds); err != nil {
			f.fail(err)
		}
	}
	if err := address(ctx, tx, fires); err != nil {
		return err
	}
	fresh, err := record(ctx, tx, fires)
	if err != nil {
		return err
	}
	var emitting []*fire
	var emitted []events.Made
	var enqueued []queue.NewJob
	for _, f := range fires {
		switch {
		case !fresh[f.key()]:
			f.state, f.jobs = "", nil
		case f.event != nil:
			emitting, emitted = append(emitting, f), append(emitted, *f.event)
		case f.job != nil:
			enqueued = append(enqueued, *f.job)
		}
	}
	outcomes, err := m.Events.Write(ctx, tx, emitted)
	if err != nil {
		return fmt.Errorf("emit events: %w", err)
	}
	for i, o := range outcomes {
		emitting[i].jobs = o.JobIDs
		if o.Refusal == nil {
			continue
		}
		emitting[i].fail(fmt.Errorf("the event was refused: %w", o.Refusal))
		if err := emitting[i].recordFailure(ctx, tx); err != nil {
			return err
		}
	}
	if len(enqueued) == 0 {
		return nil
	}
	return jobs.Write(ctx, tx, enqueued)
}

// address gives jobs that deliver to endpoints their place in the endpoint's order, and
// fails those whose endpoint is gone.
func address(ctx context.Context, tx *sqlx.Tx, fires []*fire) error {
	named := map[string][]uuid.UUID{}
	for _, f := range fires {
		if f.job != nil && f.job.EndpointID.Valid {
			named[f.of.Tenant] = append(named[f.of.Tenant], f.job.EndpointID.UUID)
		}
	}
	for tenant, ids := range named {
		known, err := webhooks.KnownInOrder(ctx, tx, tenant, ids)
		if err != nil {
			return err
		}
		for _, f := range fires {
			if f.job == nil || !f.job.EndpointID.Valid || f.of.Tenant != tenant {
				continue
			}
			if order := known[f.job.EndpointID.UUID]; order != nil {
				order(f.job)
			} else {
				f.fail(fmt.Errorf("there is no endpoint %s any more", f.job.EndpointID.UUID))
			}
		}
	}
	return nil
}

// fail notes why a fire made nothing.
func (f *fire) fail(err error) {
	f.state, f.detail = failed, clean(err.Error())
	f.job, f.event, f.jobs, f.jobID, f.eventID = nil, nil, nil, uuid.NullUUID{}, uuid.NullUUID{}
}

// clean is a text as a column holds it.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// fireKey is what a fire is once for.
type fireKey struct {
	id     uuid.UUID
	at     int64 // microseconds
	manual bool
}

func (f *fire) key() fireKey { return fireKey{f.of.ID, f.at.UnixMicro(), f.manual} }

// record writes fires and gives those that were not there, or were queued.
func record(ctx context.Context, tx *sqlx.Tx, fires []*fire) (map[fireKey]bool, error) {
	n := len(fires)
	manual := make(pq.BoolArray, n)
	for i, f := range fires {
		manual[i] = f.manual
	}
	var rows []struct {
		ID     uuid.UUID `db:"schedule_id"`
		At     time.Time `db:"fire_at"`
		Manual bool      `db:"manual"`
	}
	// By the primary key. A queued fire comes to its end once: its schedule is locked.
	err := tx.SelectContext(ctx, &rows, `
		INSERT INTO signalstack.schedule_fires AS f (schedule_id, fire_at, manual, state, due_at, made_at, job_id, event_id, detail)
		SELECT id, fire_at, manual, state, due_at, clock_timestamp(), job_id, event_id, detail
		FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::text[], $5::timestamptz[], $6::uuid[], $7::uuid[], $8::text[])
		     AS g (id, fire_at, manual, state, due_at, job_id, event_id, detail)
		ON CONFLICT (schedule_id, fire_at, manual) DO UPDATE
		SET state = excluded.state, made_at = excluded.made_at, job_id = excluded.job_id, event_id = excluded.event_id, detail = excluded.detail
		WHERE f.state = 'queued' AND excluded.state <> 'queued'
		RETURNING schedule_id, fire_at, manual`,
		pg.UUIDs(n, func(i int) uuid.UUID { return fires[i].of.ID }),
		pg.Times(n, func(i int) time.Time { return fires[i].at }),
		manual,
		pg.Texts(n, func(i int) string { return fires[i].state }),
		pg.Times(n, func(i int) time.Time { return fires[i].due }),
		pg.NullUUIDs(n, func(i int) uuid.NullUUID { return fires[i].jobID }),
		pg.NullUUIDs(n, func(i int) uuid.NullUUID { return fires[i].eventID }),
		pg.Texts(n, func(i int) string { return fires[i].detail }))
	if err != nil {
		return nil, fmt.Errorf("write %d fires: %w", n, err)
	}
	fresh := make(map[fireKey]bool, len(rows))
	for _, r := range rows {
		fresh[fireKey{r.ID, r.At.UnixMicro(), r.Manual}] = true
	}
	return fresh, nil
}

// recordFailure corrects a fire that was written as made.
func (f *fire) recordFailure(ctx context.Context, tx *sqlx.Tx) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE signalstack.schedule_fires SET state = $4, detail = $5, job_id = NULL, event_id = NULL
		WHERE (schedule_id, fire_at, manual) = ($1, $2, $3)`, f.of.ID, f.at, f.manual, f.state, f.detail)
	if err != nil {
		return fmt.Errorf("write what became of a fire: %w", err)
	}
	return nil
}
