package outbound

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/jobs"
)

// maxRetryAfter caps what a receiver may ask for, so that a mistake of its own
// does not park a job for a year.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header of that name: seconds or an HTTP date (RFC 9110,
// section 10.2.3). What cannot be read asks for nothing.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		seconds = min(max(seconds, 0), int64(maxRetryAfter/time.Second))
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// Judge turns a status into the verdict on an attempt: nil for 2xx, else an error
// that is permanent when permanent says so of the status, and that carries the
// wait the receiver asked for.
func Judge(r Response, permanent func(status int) bool) error {
	if r.Status >= 200 && r.Status <= 299 {
		return nil
	}
	return Refusal(r, permanent)
}

// Refusal is the verdict of Judge on a status that is no success, be it 2xx.
func Refusal(r Response, permanent func(status int) bool) error {
	err := fmt.Errorf("the receiver answered %d%s", r.Status, meaning(r.Status))
	switch {
	case permanent(r.Status):
		return jobs.Permanent(err)
	case r.RetryAfter > 0:
		return jobs.RetryAfter(r.RetryAfter, err)
	}
	return err
}

func meaning(status int) string {
	text := http.StatusText(status)
	if text != "" {
		text = " " + text
	}
	if status >= 300 && status <= 399 {
		text += "; redirects are not followed, so give the address it points to"
	}
	return text
}
