package sources

import (
	"context"
	"net/http"
	"time"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/pg"
)

// Proof says why a request is not proved to be the vendor's, or "".
func Proof(s Source, secrets []string, now time.Time, h http.Header, body []byte) string {
	_, why := prove(s, secrets, now, h, body)
	return why
}

// EventOf gives the event of a request, or why there is none.
func EventOf(s Source, secretText string, now time.Time, h http.Header, body []byte) (events.NewEvent, string) {
	d, why := prove(s, []string{secretText}, now, h, body)
	if why != "" {
		return events.NewEvent{}, why
	}
	v, _ := vendorOf(s)
	e, bad := v.event(d)
	if bad != nil {
		return e, bad.reason
	}
	return e, ""
}

func prove(s Source, secrets []string, now time.Time, h http.Header, body []byte) (delivery, string) {
	v, _ := vendorOf(s)
	var all []secret
	for _, text := range secrets {
		all = append(all, secret{Value: text})
	}
	keys, err := v.keys(all, now)
	if err != nil {
		return delivery{}, err.Error()
	}
	d, why := v.verify(target{Source: s, now: now}, keys, h, body)
	if why != nil {
		return d, why.reason
	}
	return d, ""
}

// Flush writes the counts that were gathered.
func (a *API) Flush(ctx context.Context, db *pg.DB) error { return a.counter.flush(ctx, db) }
