package events

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/rules"
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

	// CloudEvent is what the event says beyond these fields when it came as a
	// CloudEvent.
	CloudEvent cloudevents.Attributes `json:"-"`
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

// event makes the event of a valid NewEvent. When it was received is for the
// transaction to say that stores it.
func (n NewEvent) event(tenant string) Listed {
	happened, _ := httpapi.ParseTime("", n.Time)
	if n.Time == "" {
		happened = time.Now()
	}
	e := Listed{
		ID: uuid.Must(uuid.NewV7()), Tenant: tenant, Type: n.Type, Source: n.Source, Subject: n.Subject,
		Time:        happened.UTC().Truncate(time.Microsecond), // what the column holds
		ContentType: n.CloudEvent.ContentType, DataSchema: n.CloudEvent.DataSchema, Extensions: httpapi.JSON(n.CloudEvent.Extensions),
	}
	if n.ID != nil {
		e.SenderID = *n.ID
	}
	return e
}

// Listed is what is shown of an accepted event everywhere. It never changes, but that
// its data may be erased.
type Listed struct {
	ID         uuid.UUID `db:"id" json:"id" doc:"Made by SignalStack; a UUIDv7"`
	Tenant     string    `db:"tenant" json:"tenant"`
	Type       string    `db:"type" json:"type"`
	Source     string    `db:"source" json:"source,omitempty"`
	Subject    string    `db:"subject" json:"subject,omitempty"`
	SenderID   string    `db:"sender_id" json:"sender_id,omitempty" doc:"The id that the sender gave"`
	Time       time.Time `db:"time" json:"time" doc:"When it happened"`
	ReceivedAt time.Time `db:"received_at" json:"received_at" doc:"When it was accepted"`

	// Of CloudEvents, by the names of their attributes.
	ContentType string       `db:"content_type" json:"datacontenttype,omitempty" doc:"The media type of data, where a CloudEvent gave it"`
	DataSchema  string       `db:"data_schema" json:"dataschema,omitempty" doc:"The URI of the schema of data, where a CloudEvent gave it"`
	Extensions  httpapi.JSON `db:"extensions" json:"extensions,omitempty" doc:"The extension attributes of a CloudEvent: an object of texts, booleans and whole numbers"`
	// ErasedAt is nil for nearly all events.
	ErasedAt *time.Time `db:"erased_at" json:"erased_at,omitempty" doc:"When its data was erased on request"`
}

// Event is an event as its acceptance is answered.
type Event struct {
	Listed
	JobIDs   []uuid.UUID    `json:"job_ids" nullable:"false" doc:"The jobs that the event made"`
	Warnings []fault.Detail `json:"warnings,omitempty" doc:"Where the data breaks the schema of the event's type, which warns and does not reject"`
}

// Explained is an event with its data, what came of it and why.
type Explained struct {
	Listed
	Jobs          []jobs.Record           `json:"jobs" nullable:"false" doc:"The first 100 jobs that it made"`
	MoreJobs      string                  `json:"more_jobs,omitempty" doc:"Where all of them are listed, when they are more than 100"`
	Rules         []rules.Verdict         `json:"rules" nullable:"false" doc:"What the rules of its tenant would make of it as they are now, which need not be what they were when it came: the 100 oldest rules"`
	MoreRules     bool                    `json:"more_rules,omitempty" doc:"There are more rules; POST /rules/test tells of any pattern"`
	Endpoints     []EndpointVerdict       `json:"endpoints" nullable:"false" doc:"Which endpoints that subscribe with event_types would take it as they are now: the 100 oldest"`
	MoreEndpoints bool                    `json:"more_endpoints,omitempty" doc:"There are more endpoints that subscribe"`
	Schema        *eventtypes.SchemaCheck `json:"schema,omitempty" doc:"What the schema of its type says of the data, as it is now; absent when there is none, its mode is off, or the data was erased"`
	Data          httpapi.JSON            `json:"data,omitempty" doc:"Byte for byte as it came; absent when the event has none, or no more. Data of a CloudEvent that are other text are a text"`
	Base64        string                  `json:"data_base64,omitempty" doc:"In place of data, when those of a CloudEvent are neither JSON nor other text"`
}

// envelope is what patterns see of an event beside its data.
func (e *Listed) envelope() pattern.Envelope {
	return pattern.Envelope{
		ID: e.ID.String(), Tenant: e.Tenant, Type: e.Type, Source: e.Source, Subject: e.Subject,
		Time: e.Time.UTC().Format(time.RFC3339Nano), ContentType: e.ContentType, DataSchema: e.DataSchema, Extensions: e.Extensions,
	}
}
