package webhooks

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

// fate is what an attempt says of its endpoint.
type fate int

const (
	delivered   fate = iota
	refused          // it answered, and did not want this message
	unavailable      // it could not be reached, took too long, or is in trouble
	throttled        // it said when to come again
	closed           // it wants no more messages
)

// outcome is an attempt judged: what it says of the endpoint, and the error that says
// what becomes of the job.
type outcome struct {
	fate  fate
	err   error
	after time.Duration // throttled: when to come again
}

// What a receiver may answer in the header Webhook-Delivery, in the manner of Svix.
const (
	headerControl = "Webhook-Delivery"
	controlAbort  = "abort-message" // give this message up
	controlStop   = "disable"       // deliver no more of them
)

// maxThrottle bounds how long a receiver can keep itself from being called. It may say
// so again; a mistake of its proxy does not silence it for days.
const maxThrottle = time.Hour

// judge says what an attempt came to. The statuses are those of Standard Webhooks
// ("Delivery", "Error codes") and of the HTTP webhook binding of CloudEvents.
func judge(response outbound.Response, err error) outcome {
	if err != nil {
		return outcome{fate: unavailable, err: err}
	}
	failed := outbound.Judge(response, func(int) bool { return false })
	control := strings.ToLower(strings.TrimSpace(response.Header.Get(headerControl)))
	status := response.Status
	switch {
	case control == controlStop:
		return outcome{fate: closed, err: stopped(failed, "the receiver answered %d and asked for no more webhooks", status)}
	case failed == nil:
		return outcome{}
	case status == http.StatusGone:
		return outcome{fate: closed, err: jobs.Permanent(failed)}
	case control == controlAbort:
		return outcome{fate: refused, err: jobs.Permanentf("the receiver answered %d and asked not to be sent this webhook again", status)}
	case response.RetryAfter > 0 && (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable):
		after := min(response.RetryAfter, maxThrottle)
		return outcome{fate: throttled, err: jobs.Throttled(after, failed), after: after}
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return outcome{fate: unavailable, err: failed}
	}
	return outcome{fate: refused, err: failed}
}

// stopped is the error of a message whose receiver wants no more; none when it took
// this one.
func stopped(failed error, format string, args ...any) error {
	if failed == nil {
		return nil
	}
	return jobs.Permanent(fmt.Errorf(format, args...))
}
