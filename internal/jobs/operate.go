package jobs

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/queue"
)

// operateRoutes lists what operators do to a job.
func (a *API) operateRoutes(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		OperationID: "cancel-job", Method: http.MethodPost, Path: "/jobs/{id}/cancel", Tags: []string{"jobs"},
		Summary: "Cancel a job",
		Description: "One that waits is canceled at once. Of one that runs the worker is asked, which ends the attempt within two seconds: " +
			"the answer is the job while it still runs. One that has ended is 409. POST /jobs/cancel does it for all jobs of a filter.",
	}, a.cancel)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "retry-job", Method: http.MethodPost, Path: "/jobs/{id}/retry", Tags: []string{"jobs"},
		Summary: "Take up a job again that has ended, however it did",
		Description: "Its attempts count from 1, so that its whole retry policy is before it; those that were made stay on record. It keeps its id, which is " +
			"a webhook's webhook-id, so one that succeeded is sent again as the same. 409 is the answer for one that has not ended, which goes on by itself; " +
			"for one whose event was erased; and for one that could not be made of its event: mend its rule and send the event again. " +
			"POST /jobs/retry does it for all jobs of a filter.",
	}, a.retry)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "update-job", Method: http.MethodPatch, Path: "/jobs/{id}", Tags: []string{"jobs"},
		Summary: "Change the priority or the time of a job that waits", Description: "One that runs or has ended is 409.",
	}, httpapi.One[JobPatch](), a.change)
}

func (a *API) cancel(ctx context.Context, in *getIn) (*getOut, error) {
	return a.operate(ctx, in, func(id uuid.UUID) error {
		_, err := queue.Cancel(ctx, a.DB, id)
		return err
	})
}

func (a *API) retry(ctx context.Context, in *getIn) (*getOut, error) {
	return a.operate(ctx, in, func(id uuid.UUID) error { return queue.Retry(ctx, a.DB, id) })
}

// JobPatch changes the fields that it has.
type JobPatch struct {
	Priority *int   `json:"priority,omitempty" minimum:"1" maximum:"4" doc:"1 is served first, 4 last"`
	RunAt    string `json:"run_at,omitempty" format:"date-time" doc:"Not before this time, at most ten years ahead; a time in the past runs now"`
}

// Validate gives the mistakes that the schema does not know.
func (p JobPatch) Validate() []fault.Detail {
	at, mistakes := httpapi.ParseTime("/run_at", p.RunAt)
	if time.Until(at) > maxAhead {
		mistakes = append(mistakes, fault.Detail{Pointer: "/run_at", Detail: "must be at most ten years ahead"})
	}
	return mistakes
}

type updateIn struct {
	httpapi.JSONBody
	ID string `path:"id" format:"uuid" doc:"The job's id"`
}

func (a *API) change(ctx context.Context, in *updateIn, p JobPatch) (*getOut, error) {
	c := queue.Change{Priority: p.Priority}
	if p.RunAt != "" {
		at, _ := httpapi.ParseTime("", p.RunAt) // checked
		c.RunAt = &at
	}
	return a.operate(ctx, &getIn{ID: in.ID}, func(id uuid.UUID) error { return c.Apply(ctx, a.DB, id) })
}

// operate acts on a job and shows what it is then.
func (a *API) operate(ctx context.Context, in *getIn, act func(uuid.UUID) error) (*getOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	if err := act(id); err != nil {
		return nil, err
	}
	return a.get(ctx, in)
}
