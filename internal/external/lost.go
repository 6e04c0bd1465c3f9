package external

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// Since is what has happened to a job since a lease of it was lost.
type Since struct {
	JobID   uuid.UUID   `json:"job_id"`
	State   queue.State `json:"state" doc:"Of the job, now"`
	Attempt int         `json:"attempt" doc:"Attempts begun so far"`

	Outcome string     `json:"outcome,omitempty" doc:"How the attempt of the lease ended; absent when it was given back, which leaves no record"`
	Error   string     `json:"error,omitempty" doc:"Why"`
	EndedAt *time.Time `json:"ended_at,omitempty" doc:"When"`

	Worker     *uuid.UUID `json:"worker,omitempty" doc:"Who made, or makes, the attempt after it"`
	WorkerName string     `json:"worker_name,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty" doc:"When that began"`
}

// lost gives the fault of a lease that is not held, with what has happened since.
func (a *API) lost(ctx context.Context, lease string, held queue.Held, timedOut bool) error {
	job, err := jobs.Get(ctx, a.DB, held.JobID)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.NotFound {
		return errNeverGiven(lease) // the job was removed after its end
	}
	if err != nil {
		return err
	}
	since := Since{JobID: job.ID, State: job.State, Attempt: job.Attempt}
	for i := range job.Attempts {
		attempt := &job.Attempts[i]
		switch {
		case attempt.Lease == held.Lease:
			since.Outcome, since.Error, since.EndedAt = attempt.Outcome, attempt.Error, attempt.FinishedAt
		case attempt.Lease > held.Lease:
			since.Worker, since.WorkerName, since.StartedAt = attempt.Worker, attempt.WorkerName, &attempt.StartedAt
		}
	}
	f := fault.New(fault.Conflict, "lease_lost", "The lease is not held any more, and nothing was changed: %s. The job is %s.", since.reason(), since.State)
	if timedOut {
		f = fault.New(fault.Conflict, "lease_timed_out", "The attempt has taken longer than the job's timeout, and was ended. The job is %s.", since.State)
	}
	f.About = since
	return f
}

// reason says in words what ended a lease.
func (s *Since) reason() string {
	switch {
	case s.Outcome == queue.OutcomeCrashed:
		return "it ran out before it was extended"
	case s.Outcome == queue.OutcomeTimeout:
		return "the attempt had taken longer than the job's timeout"
	case s.Outcome != "":
		return "its attempt has ended (" + s.Outcome + ")"
	}
	return "the job was given back"
}
