package sources

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/pg"
)

// lookPatience is how long a source is looked for: a little less than the most
// impatient of vendors waits.
const lookPatience = 2 * time.Second

// take verifies a delivery and makes an event of it, within the patience of the
// vendor. It says whether the delivery came before.
func (a *API) take(ctx context.Context, id uuid.UUID, header http.Header, body []byte) (Received, bool, error) {
	began := time.Now()
	t, err := a.find(ctx, id)
	if err != nil {
		return Received{}, false, err
	}
	if !t.Enabled {
		return Received{}, false, fault.New(fault.Forbidden, "source_disabled", "The source is disabled; an operator can enable it.")
	}
	v, known := vendorOf(t.Source)
	if !known {
		return Received{}, false, fault.New(fault.Unavailable, "unknown_kind", "This process is too old for the kind of the source.")
	}
	keys, err := v.keys(t.secrets, t.now)
	if err != nil {
		return Received{}, false, err
	}
	d, why := v.verify(t, keys, header, body)
	if why != nil {
		return Received{}, false, a.reject(t, why)
	}
	if v.answer != nil {
		if challenge, ok := v.answer(d); ok {
			return Received{Challenge: challenge}, false, nil
		}
	}
	n, why := v.event(d)
	if why == nil && !isText(n) {
		why = unreadable("a header is not UTF-8")
	}
	if why != nil {
		return Received{}, false, a.reject(t, why)
	}
	ctx, cancel := context.WithDeadline(ctx, began.Add(v.patience))
	defer cancel()
	return a.accept(ctx, t, n)
}

// find reads a source, but not for longer than a vendor waits.
func (a *API) find(ctx context.Context, id uuid.UUID) (target, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	t, err := look(ctx, a.db, a.box, id)
	if err != nil && ctx.Err() != nil {
		away := fault.Away(err, pg.RetryAfter)
		away.Outcome = fault.Nothing
		return target{}, away
	}
	return t, err
}

// verify gives the delivery that a request proves to be, with its body as JSON.
func (v vendor) verify(t target, keys [][]byte, header http.Header, body []byte) (delivery, *rejection) {
	claim, why := v.claim(header, body)
	if why == nil {
		why = claim.prove(keys, t.now, v.tolerance)
	}
	if why != nil {
		return delivery{}, why
	}
	d := delivery{source: t.Path, header: header, body: body}
	if v.form && isForm(header) {
		fields, err := url.ParseQuery(string(body))
		if err != nil || !fields.Has("payload") {
			return delivery{}, unreadable("the form has no field payload")
		}
		d.body = []byte(fields.Get("payload"))
	}
	if err := httpapi.CheckJSON(d.body); err != nil {
		return delivery{}, unreadable(reasonOf(err))
	}
	doc, err := parse(d.body)
	if err != nil {
		return delivery{}, unreadable(reasonOf(err))
	}
	d.doc = doc
	return d, nil
}

func isForm(h http.Header) bool {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media == "application/x-www-form-urlencoded"
}

// reasonOf gives the text of a fault that is known to be fit to be shown.
func reasonOf(err error) string {
	if f := fault.As(err); f != nil {
		return f.Message
	}
	return "the body is not JSON"
}

// isText says whether an event is free of what headers can hold and texts cannot.
func isText(n events.NewEvent) bool {
	return utf8.ValidString(n.Type) && utf8.ValidString(n.Source) && (n.ID == nil || utf8.ValidString(*n.ID))
}

// accept stores the event of a delivery and counts it.
func (a *API) accept(ctx context.Context, t target, n events.NewEvent) (Received, bool, error) {
	var key idempotency.Key
	if n.ID != nil {
		key = idempotency.Key{Tenant: t.Tenant, Scope: "sources/" + t.ID.String(), Key: *n.ID}
	}
	e, replayed, err := a.events.Accept(ctx, n, t.Tenant, key)
	if f := fault.As(err); f != nil && f.Kind == fault.Invalid {
		return Received{}, false, a.reject(t, unreadable("the event would not be valid: "+mistakes(f)))
	}
	if err != nil {
		return Received{}, false, err
	}
	counted := tally{accepted: 1, lastAccepted: t.now}
	if replayed {
		counted = tally{duplicates: 1}
	}
	a.counter.add(t.ID, counted)
	return Received{EventID: e.ID.String()}, replayed, nil
}

// mistakes puts the details of a fault into one line.
func mistakes(f *fault.Error) string {
	if len(f.Details) == 0 {
		return f.Message
	}
	var all []string
	for _, d := range f.Details {
		all = append(all, d.Pointer+" "+d.Detail)
	}
	return strings.Join(all, ", ")
}

// reject counts a rejection and gives the fault of it.
func (a *API) reject(t target, why *rejection) error {
	a.counter.add(t.ID, tally{rejected: 1, lastRejected: t.now, reason: why.reason})
	return fault.New(why.kind, why.code, "The delivery was not accepted: %s.", why.reason)
}
