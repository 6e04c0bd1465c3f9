package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// pickForm chooses the form of a body as the HTTP Protocol Binding of CloudEvents
// does (section 3): by the Content-Type first, then by the ce- headers.
func pickForm(h http.Header) (httpapi.Reader[httpapi.Batch[NewEvent]], error) {
	one, batch, err := cloudevents.IsStructured(h)
	switch {
	case err != nil:
		return nil, err
	case batch:
		return readBatch, nil
	case one:
		return readStructured, nil
	case cloudevents.IsBinary(h):
		return readBinary, nil
	}
	return nil, nil
}

func readStructured(_ http.Header, raw []byte) (httpapi.Batch[NewEvent], error) {
	if err := httpapi.CheckJSON(raw); err != nil {
		return httpapi.Batch[NewEvent]{}, err
	}
	raw = bytes.TrimSpace(raw)
	return httpapi.Batch[NewEvent]{Raw: raw, Items: []httpapi.Item[NewEvent]{readItem(raw)}}, nil
}

func readItem(raw []byte) httpapi.Item[NewEvent] {
	item := httpapi.Item[NewEvent]{Raw: raw}
	e, mistakes, f := cloudevents.ReadStructured(raw)
	item.Fault = f
	item.Add(mistakes...)
	if f == nil {
		take(&item, e, func(pointer string) string { return pointer })
	}
	return item
}

func readBatch(_ http.Header, raw []byte) (httpapi.Batch[NewEvent], error) {
	if err := httpapi.CheckJSON(raw); err != nil {
		return httpapi.Batch[NewEvent]{}, err
	}
	raw = bytes.TrimSpace(raw)
	var parts []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &parts) != nil {
		return httpapi.Batch[NewEvent]{}, fault.InvalidField("", "must be an array of CloudEvents; a single one has the Content-Type %s", cloudevents.MediaStructured)
	}
	if len(parts) > httpapi.MaxBatch {
		return httpapi.Batch[NewEvent]{}, fault.InvalidField("", "a batch must have at most %d events, this one has %d", httpapi.MaxBatch, len(parts))
	}
	b := httpapi.Batch[NewEvent]{Array: true, Raw: raw, Items: make([]httpapi.Item[NewEvent], len(parts))}
	for i, part := range parts {
		b.Items[i] = readItem(part)
	}
	return b, nil
}

func readBinary(h http.Header, raw []byte) (httpapi.Batch[NewEvent], error) {
	e, mistakes, err := cloudevents.ReadBinary(h, raw)
	if err != nil {
		return httpapi.Batch[NewEvent]{}, err
	}
	// The whole of the event is its body as far as keys go.
	item := httpapi.Item[NewEvent]{Raw: fmt.Appendf(nil, "%q %q %q %q %q %q %q %s %s", e.ID, e.Source, e.Type, e.Subject, e.Time, e.ContentType, e.DataSchema, e.Extensions, raw)}
	item.Add(mistakes...)
	take(&item, e, func(pointer string) string { return "/header/ce-" + pointer[1:] })
	return httpapi.Batch[NewEvent]{Raw: raw, Items: []httpapi.Item[NewEvent]{item}}, nil
}

// tenantExtension is the extension attribute that says whose an event is. It is kept
// like any other.
const tenantExtension = "tenant"

// take makes the item of a CloudEvent and adds what an event of ours may not be.
func take(item *httpapi.Item[NewEvent], e cloudevents.Event, pointer func(string) string) {
	n := NewEvent{
		Type: e.Type, Data: e.Data, Source: e.Source, Subject: e.Subject, Time: e.Time, CloudEvent: e.Attributes,
	}
	if e.ID != "" {
		n.ID = &e.ID
	}
	if raw := e.Extension(tenantExtension); raw != nil && json.Unmarshal(raw, &n.Tenant) != nil {
		item.Add(fault.Detail{Pointer: pointer("/" + tenantExtension), Detail: "must be a text: it says whose the event is"})
	}
	item.Value = n
	for _, m := range n.Validate() {
		item.Add(fault.Detail{Pointer: pointer(m.Pointer), Detail: m.Detail})
	}
}
