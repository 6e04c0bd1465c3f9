package rules

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pattern"
)

// NewRule is what a client may say of a rule.
type NewRule struct {
	Name    string       `json:"name" minLength:"1" doc:"For people"`
	Pattern httpapi.JSON `json:"pattern" doc:"Event pattern in the manner of EventBridge: an object of fields, each with the list of values it may have"`
	Actions []Action     `json:"actions" minItems:"1" maxItems:"20" doc:"Each makes one job for each event that matches"`
	Enabled *bool        `json:"enabled,omitempty" doc:"Default true"`
	Tenant  string       `json:"tenant,omitempty" doc:"Whose events it looks at; default: the caller's"`
}

// RulePatch changes the fields that it has.
type RulePatch struct {
	Name    *string      `json:"name,omitempty" minLength:"1"`
	Pattern httpapi.JSON `json:"pattern,omitempty"`
	Actions []Action     `json:"actions,omitempty" minItems:"1" maxItems:"20" doc:"Replaces all actions"`
	Enabled *bool        `json:"enabled,omitempty"`
}

// Rule is a rule as it is stored and shown.
type Rule struct {
	ID        uuid.UUID    `json:"id"`
	Tenant    string       `json:"tenant"`
	Name      string       `json:"name"`
	Pattern   httpapi.JSON `json:"pattern"`
	Actions   []Action     `json:"actions"`
	Enabled   bool         `json:"enabled"`
	CreatedAt time.Time    `json:"created_at"`
	UpdatedAt time.Time    `json:"updated_at"`
}

// Validate gives the mistakes that need neither the kinds nor the database.
func (n NewRule) Validate() []fault.Detail {
	mistakes := append(httpapi.CheckText("/name", n.Name, 200), httpapi.CheckName("/tenant", n.Tenant)...)
	if n.Pattern != nil {
		_, wrong := Compile(n.Pattern)
		mistakes = append(mistakes, wrong...)
	}
	return append(mistakes, checkWritten(n.Actions)...)
}

// Validate gives the mistakes that need neither the kinds nor the database.
func (p RulePatch) Validate() []fault.Detail {
	var mistakes []fault.Detail
	if p.Name != nil {
		mistakes = httpapi.CheckText("/name", *p.Name, 200)
	}
	if p.Pattern != nil {
		_, wrong := Compile(p.Pattern)
		mistakes = append(mistakes, wrong...)
	}
	return append(mistakes, checkWritten(p.Actions)...)
}

// Compile reads a pattern that stands in the field of that name, and gives its
// mistakes.
func Compile(raw httpapi.JSON) (*pattern.Pattern, []fault.Detail) {
	p, err := pattern.Compile(raw)
	return p, pattern.Details("/pattern", err)
}

// checkEach gives the mistakes that check finds in each action, with pointers from
// the rule.
func checkEach(actions []Action, check func(Action) []fault.Detail) []fault.Detail {
	var mistakes []fault.Detail
	for i, a := range actions {
		for _, m := range check(a) {
			mistakes = append(mistakes, fault.Detail{Pointer: fmt.Sprintf("/actions/%d%s", i, m.Pointer), Detail: m.Detail})
		}
	}
	return mistakes
}
