package external

import (
	"context"
	"encoding/json"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
)

// KindName stands in the kind field of the jobs.
const KindName = "external"

// Kind is what the engine needs to know of external jobs. Any payload will do: only
// their workers know what it must be.
func Kind() jobs.Kind {
	return jobs.Kind{
		Name: KindName, External: true, Timeout: 10 * time.Minute, MaxAttempts: 8, Retry: jobs.DefaultPolicy(),
		Check: func(json.RawMessage, jobs.Later) []fault.Detail { return nil },
		// Only a job that SQL put into a queue of another kind comes here.
		Run: func(context.Context, jobs.Job) (jobs.Result, error) {
			return jobs.Result{}, jobs.Permanentf("jobs of the kind external are claimed over HTTP; enqueue them into the queue external or external:NAME")
		},
	}
}
