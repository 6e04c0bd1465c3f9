package tenants

import (
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// Setting is what an operator may say of a tenant. It replaces what was set before.
type Setting struct {
	Name          string `json:"name,omitempty" doc:"For people"`
	MaxEventBytes *int64 `json:"max_event_bytes,omitempty" minimum:"1" maximum:"1073741824" doc:"How many bytes the data of an event may have; absent: what fits into a request"`
}

// Validate gives the mistakes that the schema does not know.
func (s Setting) Validate() []fault.Detail { return httpapi.CheckText("/name", s.Name, 200) }

// Tenant is a tenant with its settings.
type Tenant struct {
	Tenant        string     `db:"tenant" json:"tenant"`
	Name          string     `db:"name" json:"name,omitempty"`
	MaxEventBytes *int64     `db:"max_event_bytes" json:"max_event_bytes,omitempty" doc:"How many bytes the data of an event may have; absent: what fits into a request"`
	CreatedAt     *time.Time `db:"created_at" json:"created_at,omitempty" doc:"When it was first set; absent when nothing is"`
	UpdatedAt     *time.Time `db:"updated_at" json:"updated_at,omitempty"`
}

// Limits are the largest events of the tenants that have a limit, in bytes of data.
type Limits map[string]int64

// Check gives the fault of data that is larger than its tenant allows, or nil.
func (l Limits) Check(tenant string, data []byte) *fault.Error {
	most, limited := l[tenant]
	if !limited || int64(len(data)) <= most {
		return nil
	}
	f := fault.New(fault.TooLarge, "event_too_large", "An event is larger than its tenant allows; errors says by how much.")
	f.Details = fault.InvalidField("/data", "has %d bytes; tenant %s allows %d (max_event_bytes of PUT /tenants/%s)", len(data), tenant, most, tenant).Details
	return f
}
