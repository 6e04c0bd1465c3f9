package events

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
)

// NewEvent is what a client may say of an event.
type NewEvent struct {
	Type           string       `json:"type" minLength:"1" doc:"What happened" example:"payment.succeeded"`
	Data           httpapi.JSON `json:"data,omitempty" doc:"Any JSON value; it is delivered byte for byte as it came"`
	Source         string       `json:"source,omitempty" doc:"Where it happened"`
	Subject        string       `json:"subject,omitempty" doc:"What it happened to"`
	Time           string       `json:"time,omitempty" format:"date-time" doc:"When it happened; default: when it was received"`
	ID             *string      `json:"id,omitempty" doc:"The sender's own id: the same source and id again is the same event and answered as before"`
	IdempotencyKey *string      `json:"idempotency_key,omitempty" doc:"Makes the request safe to send again; as the Idempotency-Key header"`
	Tenant         string       `json:"tenant,omitempty" doc:"Whose the event is; default: the caller's"`
}

// Validate gives every mistake that the schema does not know.
func (n NewEvent) Validate() []fault.Detail {
	mistakes := httpapi.CheckText("/type", n.Type, 255)
	if n.Type != "" && strings.TrimSpace(n.Type) == "" {
		mistakes = append(mistakes, fault.Detail{Pointer: "/type", Detail: "must not be blank"})
	}
	mistakes = append(mistakes, httpapi.CheckText("/source", n.Source, 2048)...)
	mistakes = append(mistakes, httpapi.CheckText("/subject", n.Subject, 2048)...)
	mistakes = append(mistakes, httpapi.CheckName("/tenant", n.Tenant)...)
	_, wrong := httpapi.ParseTime("/time", n.Time)
	mistakes = append(mistakes, wrong...)
	for pointer, key := range map[string]*string{"/id": n.ID, "/idempotency_key": n.IdempotencyKey} {
		if key == nil {
			continue
		}
		if wrong := idempotency.Check(*key); wrong != "" {
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: wrong})
		}
	}
	return mistakes
}

// Event is an accepted event. It never changes.
type Event struct {
	ID         uuid.UUID   `json:"id" doc:"Made by SignalStack; a UUIDv7"`
	Tenant     string      `json:"tenant"`
	Type       string      `json:"type"`
	Source     string      `json:"source,omitempty"`
	Subject    string      `json:"subject,omitempty"`
	SenderID   string      `json:"sender_id,omitempty" doc:"The id that the sender gave"`
	Time       time.Time   `json:"time" doc:"When it happened"`
	ReceivedAt time.Time   `json:"received_at" doc:"When it was accepted"`
	JobIDs     []uuid.UUID `json:"job_ids" nullable:"false" doc:"The jobs that the event made"`
}
