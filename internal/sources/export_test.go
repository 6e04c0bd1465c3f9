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
	v, _ := vendorOf(s)
	keys, err := v.keys(inClear(secrets), now)
	if err != nil {
		return err.Error()
	}
	c, why := v.claim(h, body)
	if why == nil {
		why = c.prove(keys, now, v.tolerance)
	}
	if why != nil {
		return why.reason
	}
	return ""
}

// EventOf gives the event of a request, or why there is none.
func EventOf(s Source, secret string, now time.Time, h http.Header, body []byte) (events.NewEvent, string) {
	v, _ := vendorOf(s)
	keys, err := v.keys(inClear([]string{secret}), now)
	if err != nil {
		return events.NewEvent{}, err.Error()
	}
	d, why := v.verify(target{Source: s, now: now}, keys, h, body)
	if why != nil {
		return events.NewEvent{}, why.reason
	}
	e, why := v.event(d)
	if why != nil {
		return e, why.reason
	}
	return e, ""
}

func inClear(texts []string) []secret {
	secrets := make([]secret, len(texts))
	for i, text := range texts {
		secrets[i].Value = text
	}
	return secrets
}

// Flush writes the counts that were gathered.
func (a *API) Flush(ctx context.Context, db *pg.DB) error { return a.counter.flush(ctx, db) }
