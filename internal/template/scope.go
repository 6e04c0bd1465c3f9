package template

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/signalstack/signalstack/internal/jobs"
)

// Scope is what templates of a job see: .data, which is data or else the event's, .event
// when there is one, and .before, the jobs that it waited for.
func Scope(data json.RawMessage, job jobs.Job) map[string]any {
	seen := map[string]any{}
	if job.Before != nil {
		before := make([]any, len(job.Before))
		for i, b := range job.Before {
			seenBefore := map[string]any{"id": b.ID.String(), "state": string(b.State)}
			if b.Result != nil {
				seenBefore["result"] = decode(json.RawMessage(b.Result))
			}
			before[i] = seenBefore
		}
		seen["before"] = before
	}
	if event := job.Event; event != nil {
		seen["event"] = map[string]any{
			"id": event.ID.String(), "type": event.Type, "source": event.Source, "subject": event.Subject,
			"time": event.Time.UTC().Format(time.RFC3339Nano),
		}
		if data == nil {
			data = event.Data
		}
	}
	if data != nil {
		seen["data"] = decode(data)
	}
	return seen
}

// decode reads a JSON value that is known to be one.
func decode(raw json.RawMessage) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return null(nil)
	}
	return forTemplates(v)
}

// null is a JSON null: false, empty and printed as nothing, where Go prints
// "<no value>".
type null []struct{}

// String gives nothing.
func (null) String() string { return "" }

// MarshalJSON gives null.
func (null) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// forTemplates makes integers comparable and null printable. A number that is no
// integer of 64 bits stays the text it came as.
func forTemplates(v any) any {
	switch v := v.(type) {
	case nil:
		return null(nil)
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil && strconv.FormatInt(n, 10) == v.String() {
			return n
		}
	case []any:
		for i := range v {
			v[i] = forTemplates(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = forTemplates(v[k])
		}
	}
	return v
}
