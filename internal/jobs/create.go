package jobs

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// keyScope keeps the idempotency keys of jobs apart from those of events.
const keyScope = "jobs"

// creation is a job on its way in, with the database's time of its transaction.
type creation struct {
	job    queue.NewJob
	now    time.Time
	unique *Unique
	// existing is the answer when another job is kept in place of this one.
	existing []byte
}

// creationBytes is what a job takes in memory on its way in, beside the payload, about.
const creationBytes = 1 << 10

// NewIntake makes the way in for jobs that clients create.
func NewIntake(db *pg.DB, cfg intake.Config) *intake.Intake[*creation] {
	const now = `SELECT now()`
	return intake.New(db, cfg, intake.Steps[*creation]{
		First: now,
		Prepare: func(ctx context.Context, tx *sqlx.Tx, all []*creation) error {
			var at time.Time
			if err := tx.GetContext(ctx, &at, now); err != nil {
				return err
			}
			for _, c := range all {
				c.now, c.existing = at, nil
			}
			return nil
		},
		Resolve: resolveUnique,
		Render:  (*creation).render,
		Write: func(ctx context.Context, tx *sqlx.Tx, fresh []*creation) error {
			jobs := make([]queue.NewJob, 0, len(fresh))
			for _, c := range fresh {
				if c.existing == nil {
					jobs = append(jobs, c.job)
				}
			}
			return Write(ctx, tx, jobs)
		},
		Bytes: func(c *creation) int { return creationBytes + len(c.job.Payload) + len(c.job.After)*len(uuid.UUID{}) },
		IDs:   func(c *creation) []uuid.UUID { return []uuid.UUID{c.job.ID} },
	})
}

// Write enqueues jobs and counts them, and what else the caller has to count, in
// the caller's transaction.
func Write(ctx context.Context, tx *sqlx.Tx, jobs []queue.NewJob, also ...analytics.Delta) error {
	return WriteWith(ctx, tx, nil, jobs, also...)
}

// WriteWith is Write in one statement with what else the caller has to write.
func WriteWith(ctx context.Context, tx *sqlx.Tx, with []pg.Write, jobs []queue.NewJob, also ...analytics.Delta) error {
	for i := range jobs {
		j := &jobs[i]
		d := analytics.Delta{
			Fact: analytics.JobCreated, Tenant: j.Tenant, Kind: j.Kind, Queue: j.Queue, Type: j.EventType, EndpointID: j.EndpointID.UUID,
		}
		also = append(also, d)
		if j.Unmade != "" {
			d.Fact, d.Outcome = analytics.JobEnded, string(queue.Failed)
			also = append(also, d)
		}
	}
	if len(also) > 0 {
		with = append(with[:len(with):len(with)], analytics.Recording(also))
	}
	return queue.Enqueue(ctx, tx, jobs, with...)
}

// render gives the job as GET /jobs/{id} would right after the commit.
func (c *creation) render() []byte {
	if c.existing != nil {
		return c.existing
	}
	j := c.job
	due := j.RunAt
	if due.IsZero() {
		due = c.now.Add(j.Delay)
	}
	d := Detailed{
		Record: Record{
			ID: j.ID, Tenant: j.Tenant, Kind: j.Kind, Queue: j.Queue, State: queue.Pending, Priority: j.Priority,
			MaxAttempts: j.MaxAttempts, RunAt: due.UTC(), Timeout: j.Timeout.String(), OrderingKey: j.OrderingKey,
			OnFailure: onFailureOf(j), LimitKey: j.LimitKey,
			CreatedAt: c.now.UTC(),
		},
		Payload: j.Payload, Retry: httpapi.JSON(j.Retry), Attempts: []Attempt{},
	}
	if j.EndpointID.Valid {
		d.EndpointID = &j.EndpointID.UUID
	}
	next := due.UTC()
	if due.After(c.now) {
		d.State = queue.Scheduled
	} else {
		next = c.now.UTC()
	}
	if d.NextAttemptAt = &next; len(j.After) > 0 {
		d.State, d.NextAttemptAt = queue.Blocked, nil
		d.waitsFor(j.After, j.AfterAny)
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic("jobs: a checked job does not marshal: " + err.Error())
	}
	return b
}

// onFailureOf gives what is shown: nothing of a job without an ordering key.
func onFailureOf(j queue.NewJob) string {
	switch {
	case j.OrderingKey == "":
		return ""
	case j.Skips:
		return OnFailureSkip
	}
	return OnFailureBlock
}
