package external

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// Completion is what a worker says of a job that is done.
type Completion struct {
	Result httpapi.JSON `json:"result,omitempty" doc:"What the job came to, at most 64 KiB; GET /jobs/{id} shows it"`
}

// Validate gives the mistakes that the schema does not know.
func (c Completion) Validate() []fault.Detail {
	if len(c.Result) > jobs.MaxResult {
		return []fault.Detail{{Pointer: "/result", Detail: fmt.Sprintf("has %d bytes and can have %d; keep it elsewhere and name the place", len(c.Result), jobs.MaxResult)}}
	}
	return nil
}

func (c Completion) act() act {
	if string(c.Result) == "null" {
		return act{verb: complete}
	}
	return act{verb: complete, result: c.Result}
}

// Failure is what a worker says of an attempt that failed.
type Failure struct {
	Error      string `json:"error" minLength:"1" doc:"Why; the first 8 KiB are kept"`
	Retry      *bool  `json:"retry,omitempty" doc:"false: no further attempt would help, and the job has failed; default true"`
	RetryAfter string `json:"retry_after,omitempty" doc:"When to try again, such as 90s; default: by the job's retry policy" example:"90s"`
}

// Validate gives the mistakes that the schema does not know.
func (f Failure) Validate() []fault.Detail {
	if f.Retry != nil && !*f.Retry && f.RetryAfter != "" {
		return []fault.Detail{{Pointer: "/retry_after", Detail: "means nothing beside retry false; remove one of them"}}
	}
	return checkDuration("/retry_after", f.RetryAfter, 0, maxAhead)
}

func (f Failure) act() act {
	x := act{verb: fail, err: jobs.ErrorText(f.Error, maxError), permanent: f.Retry != nil && !*f.Retry}
	if f.RetryAfter != "" {
		after := durationOf(f.RetryAfter, 0)
		x.after = &after
	}
	return x
}

// Snooze is what a worker says of a job that it gives back.
type Snooze struct {
	Delay string `json:"delay,omitempty" doc:"How long nobody is to have the job; default 0s" example:"5m"`
}

// Validate gives the mistakes that the schema does not know.
func (s Snooze) Validate() []fault.Detail { return checkDuration("/delay", s.Delay, 0, maxAhead) }

// LeaseExtension is what a worker says of a job that it works on.
type LeaseExtension struct {
	Lease string `json:"lease,omitempty" doc:"How long from now, from 5s to 1h; default 1m" example:"1m"`
}

// Validate gives the mistakes that the schema does not know.
func (e LeaseExtension) Validate() []fault.Detail {
	return checkDuration("/lease", e.Lease, minLease, maxLease)
}

// LeaseProgress is how far a worker says it is.
type LeaseProgress struct {
	Progress httpapi.JSON `json:"progress" doc:"Any JSON of at most 8 KiB; GET /jobs/{id} shows the last while the job runs"`
	Lease    string       `json:"lease,omitempty" doc:"Extends the lease as well, by 5s to 1h from now; default: leaves its end as it is" example:"1m"`
}

// Validate gives the mistakes that the schema does not know.
func (p LeaseProgress) Validate() []fault.Detail {
	mistakes := checkDuration("/lease", p.Lease, minLease, maxLease)
	if len(p.Progress) > maxProgress {
		mistakes = append(mistakes, fault.Detail{Pointer: "/progress", Detail: fmt.Sprintf("has %d bytes and can have %d", len(p.Progress), maxProgress)})
	}
	return mistakes
}

// LeasedCompletion is a completion in an array.
type LeasedCompletion struct {
	Completion
	Lease string `json:"lease" minLength:"1" doc:"What the claim gave"`
}

// LeasedFailure is a failure in an array.
type LeasedFailure struct {
	Failure
	Lease string `json:"lease" minLength:"1" doc:"What the claim gave"`
}

// LeaseEnded is a lease that has ended.
type LeaseEnded struct {
	JobID         uuid.UUID   `json:"job_id"`
	State         queue.State `json:"state" enum:"scheduled,pending,retrying,succeeded,failed,canceled" doc:"Of the job"`
	NextAttemptAt *time.Time  `json:"next_attempt_at,omitempty" doc:"When the job is next due"`
	Replayed      bool        `json:"replayed,omitempty" doc:"This was said, and answered, before"`
}

// LeaseHeld is a lease that goes on.
type LeaseHeld struct {
	JobID      uuid.UUID `json:"job_id"`
	LeaseUntil time.Time `json:"lease_until" doc:"When the job goes to another worker"`
	Deadline   time.Time `json:"deadline" doc:"When the attempt has taken as long as the job's timeout lets it"`
	Canceled   bool      `json:"canceled" doc:"Somebody wants the job canceled: stop, and say fail"`
}

// LeaseItem is what became of one item of an array.
type LeaseItem struct {
	Index         int              `json:"index" doc:"The place of the item in the array, from 0"`
	Status        int              `json:"status" doc:"The HTTP status of the item by itself"`
	JobID         *uuid.UUID       `json:"job_id,omitempty"`
	State         queue.State      `json:"state,omitempty" doc:"Of the job"`
	NextAttemptAt *time.Time       `json:"next_attempt_at,omitempty" doc:"When the job is next due"`
	Replayed      bool             `json:"replayed,omitempty" doc:"This was said, and answered, before"`
	Error         *httpapi.Problem `json:"error,omitempty" doc:"Why nothing was done"`
}
