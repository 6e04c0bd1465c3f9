package eventtypes

import (
	"fmt"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// Mode says what becomes of an event whose data breaks the schema of its type.
type Mode string

// The modes.
const (
	Off    Mode = "off"    // nothing is looked at
	Warn   Mode = "warn"   // it is accepted, and told
	Reject Mode = "reject" // it is refused
)

// NewEventType is what a client may say of a type.
type NewEventType struct {
	Type        string       `json:"type" minLength:"1" doc:"The type of events, as POST /events has it" example:"payment.succeeded"`
	Description string       `json:"description,omitempty" doc:"For people"`
	Mode        string       `json:"mode,omitempty" enum:"off,warn,reject" doc:"What becomes of an event whose data breaks the schema: nothing is looked at, it is accepted with warnings, or it is refused; default warn"`
	Schema      httpapi.JSON `json:"schema,omitempty" doc:"JSON Schema 2020-12 of the data: version 1"`
	Example     httpapi.JSON `json:"example,omitempty" doc:"Data that satisfies the schema"`
	Retention   string       `json:"retention,omitempty" doc:"How long events of the type are kept, at least 1h; 0 is for ever; default: as all events" example:"2160h"`
	Tenant      string       `json:"tenant,omitempty" doc:"Whose events it is about; default: the caller's"`
}

// NewSchemaVersion is one more schema of a type.
type NewSchemaVersion struct {
	Schema  httpapi.JSON `json:"schema" doc:"JSON Schema 2020-12 of the data"`
	Example httpapi.JSON `json:"example,omitempty" doc:"Data that satisfies the schema"`
}

// EventTypePatch changes the fields that it has.
type EventTypePatch struct {
	Description *string `json:"description,omitempty"`
	Mode        *string `json:"mode,omitempty" enum:"off,warn,reject"`
	Enforced    *int    `json:"enforced,omitempty" minimum:"0" doc:"The version that events are checked by; 0: always the newest"`
	Retention   *string `json:"retention,omitempty" doc:"As in POST /event-types; empty: as all events"`
}

// ListedType is a type in a list. What nobody registered has no settings.
type ListedType struct {
	Type       string        `db:"type" json:"type"`
	Tenant     string        `db:"tenant" json:"tenant"`
	Registered bool          `db:"registered" json:"registered" doc:"false: events of it came, and nobody registered it"`
	Settings   *TypeSettings `db:"-" json:"settings,omitempty" doc:"Absent when it is not registered"`
	Events     int64         `db:"events" json:"events" doc:"Events of the last 30 days"`
	Warnings   int64         `db:"warnings" json:"warnings" doc:"Those of them that were accepted although their data broke the schema"`
	LastSeen   *time.Time    `db:"last_seen" json:"last_seen,omitempty" doc:"When the newest of them came; where none is there any more, the day; absent when none came"`
}

// TypeSettings are what is registered of a type.
type TypeSettings struct {
	Description string    `json:"description,omitempty"`
	Mode        Mode      `json:"mode" enum:"off,warn,reject"`
	Enforced    int       `json:"enforced" doc:"The version that was chosen to check events by; 0: the newest"`
	Newest      int       `json:"newest" doc:"The newest version; 0: there is no schema, and nothing is checked"`
	Retention   string    `json:"retention,omitempty" doc:"How long events of the type are kept; 0s: for ever; absent: as all events"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// EventType is a registered type with its schemas.
type EventType struct {
	Type   string `json:"type"`
	Tenant string `json:"tenant"`
	TypeSettings
	Versions []SchemaVersion `json:"versions" nullable:"false" doc:"Oldest first"`
}

// SchemaVersion is one schema of a type. It never changes.
type SchemaVersion struct {
	Version   int          `db:"version" json:"version"`
	Schema    httpapi.JSON `db:"schema" json:"schema"`
	Example   httpapi.JSON `db:"example" json:"example,omitempty"`
	CreatedAt time.Time    `db:"created_at" json:"created_at"`
}

// maxDescription is in characters.
const maxDescription = 2000

// Validate gives the mistakes that the schema does not know.
func (n NewEventType) Validate() []fault.Detail {
	mistakes := httpapi.CheckText("/type", n.Type, 255)
	if n.Type != "" && strings.TrimSpace(n.Type) == "" {
		mistakes = append(mistakes, fault.Detail{Pointer: "/type", Detail: "must not be blank"})
	}
	mistakes = append(mistakes, httpapi.CheckName("/tenant", n.Tenant)...)
	mistakes = append(mistakes, httpapi.CheckText("/description", n.Description, maxDescription)...)
	_, wrong := parseRetention(n.Retention)
	mistakes = append(mistakes, wrong...)
	if n.Schema == nil && n.Example != nil {
		return append(mistakes, fault.Detail{Pointer: "/schema", Detail: "is required beside an example"})
	}
	if n.Schema != nil {
		mistakes = append(mistakes, NewSchemaVersion{n.Schema, n.Example}.Validate()...)
	}
	return mistakes
}

// Validate gives the mistakes of the schema, and those of the example by the schema.
func (n NewSchemaVersion) Validate() []fault.Detail {
	if n.Schema == nil {
		return nil // told as missing
	}
	if len(n.Example) > maxSchema {
		return mistake("/example", "has %d bytes; an example may have %d", len(n.Example), maxSchema)
	}
	schema, mistakes := Compile(n.Schema)
	if schema == nil {
		return below("/schema", mistakes)
	}
	if n.Example == nil {
		return nil
	}
	return below("/example", schema.Validate(n.Example))
}

// Validate gives the mistakes that the schema does not know.
func (p EventTypePatch) Validate() []fault.Detail {
	var mistakes []fault.Detail
	if p.Description != nil {
		mistakes = httpapi.CheckText("/description", *p.Description, maxDescription)
	}
	if p.Retention != nil {
		_, wrong := parseRetention(*p.Retention)
		mistakes = append(mistakes, wrong...)
	}
	return mistakes
}

// below moves mistakes to where the value stands that they are about.
func below(pointer string, mistakes []fault.Detail) []fault.Detail {
	moved := make([]fault.Detail, len(mistakes))
	for i, m := range mistakes {
		moved[i] = fault.Detail{Pointer: pointer + m.Pointer, Detail: m.Detail}
	}
	return moved
}

// Bounds of a retention, besides 0 for ever.
const (
	minRetention = time.Hour
	maxRetention = 100 * 366 * 24 * time.Hour
)

// parseRetention gives milliseconds; nil when none is said.
func parseRetention(said string) (*int64, []fault.Detail) {
	if said == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(said)
	if err != nil || d != 0 && (d < minRetention || d > maxRetention) {
		return nil, mistake("/retention", "must be 0, for ever, or a duration such as 720h, from 1h to %s", fmt.Sprintf("%dh", maxRetention/time.Hour))
	}
	return new(d.Milliseconds()), nil
}

func sayRetention(ms *int64) string {
	if ms == nil {
		return ""
	}
	return (time.Duration(*ms) * time.Millisecond).String()
}
