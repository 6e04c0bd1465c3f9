package expression

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/pattern"
)

// Event is an event as expressions see it. It belongs to one goroutine.
type Event struct {
	env     pattern.Envelope
	data    []byte
	decoded map[string]any // nil until somebody looks
	err     error
	left    time.Duration // that expressions may still take, all together
}

// maxTime is how long all expressions of one event may take together. One that
// comes later fails at once.
const maxTime = 2 * time.Second

// errNoTime ends what comes after maxTime is used up.
var errNoTime = fmt.Errorf("the expressions of all rules on this event took longer than %s together", maxTime)

// NewEvent views an event without copying or decoding it. data is JSON, or empty
// when the event has none.
func NewEvent(env pattern.Envelope, data []byte) *Event {
	return &Event{env: env, data: data, left: maxTime}
}

// Values are what the placeholders of another scope than an event's stand for.
func Values(root map[string]any) *Event { return &Event{decoded: root, left: maxTime} }

// Once gives what expressions see of an event, made when the first looks.
func Once(e *pattern.Event) func() *Event {
	var view *Event
	return func() *Event {
		if view == nil {
			view = NewEvent(e.Envelope(), e.Data())
		}
		return view
	}
}

// maxNumber is the longest number, in digits, that is calculated with; a longer one
// would take a second to read.
const maxNumber = 1000

// root is the event as one object. Numbers are json.Number, so that none loses a
// digit by being looked at.
func (e *Event) root() (map[string]any, error) {
	if e.decoded != nil || e.err != nil {
		return e.decoded, e.err
	}
	root := map[string]any{}
	for name, value := range map[string]string{
		"id": e.env.ID, "tenant": e.env.Tenant, "type": e.env.Type, "source": e.env.Source, "subject": e.env.Subject, "time": e.env.Time,
		"datacontenttype": e.env.ContentType, "dataschema": e.env.DataSchema,
	} {
		if value != "" {
			root[name] = value
		}
	}
	for name, raw := range map[string][]byte{"data": e.data, "extensions": e.env.Extensions} {
		if len(raw) == 0 {
			continue
		}
		if root[name], e.err = decode(raw); e.err != nil {
			e.err = fmt.Errorf("the event's %s %w", name, e.err)
			return nil, e.err
		}
	}
	e.decoded = root
	return root, nil
}

func decode(raw []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err = decoder.Decode(&value); err == nil && hasLongNumber(value) {
		err = fmt.Errorf("holds a number of more than %d digits", maxNumber)
	}
	return value, err
}

func hasLongNumber(v any) bool {
	switch v := v.(type) {
	case json.Number:
		return len(v) > maxNumber
	case []any:
		for _, x := range v {
			if hasLongNumber(x) {
				return true
			}
		}
	case map[string]any:
		for _, x := range v {
			if hasLongNumber(x) {
				return true
			}
		}
	}
	return false
}

// timed runs an expression on the event's account.
func (e *Event) timed(run func(root map[string]any) error) error {
	if e.left <= 0 {
		return errNoTime
	}
	root, err := e.root()
	if err != nil {
		return err
	}
	begun := time.Now()
	err = run(root)
	e.left -= time.Since(begun)
	return err
}

// errAbsent says that the event has no such value.
var errAbsent = errors.New("the event has no such value")
