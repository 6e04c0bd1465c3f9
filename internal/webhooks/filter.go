package webhooks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pattern"
)

// everything is the subscription to all types.
const everything = "*"

func checkTypes(types []string) []fault.Detail {
	var mistakes []fault.Detail
	for i, t := range types {
		pointer := fmt.Sprintf("/event_types/%d", i)
		switch {
		case t == "":
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: "must be a type, such as payment.succeeded, or one with *, such as payment.* or *.created"})
		case strings.Contains(t, "**"):
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: "has two stars in a row; one matches any run of characters, dots too"})
		default:
			mistakes = append(mistakes, httpapi.CheckText(pointer, t, 255)...)
		}
	}
	return mistakes
}

func checkPattern(raw httpapi.JSON) []fault.Detail {
	if raw == nil {
		return nil
	}
	_, err := pattern.Compile(raw)
	return pattern.Details("/pattern", err)
}

func checkTransform(source string) []fault.Detail {
	if source == "" {
		return nil
	}
	// The column holds no such character, which the program may have in a comment.
	if strings.Contains(source, "\x00") {
		return []fault.Detail{{Pointer: "/transform", Detail: `must not hold the character U+0000; write "\\u0000" in a text of the program`}}
	}
	if _, err := expression.CompileTransform(source); err != nil {
		return []fault.Detail{{Pointer: "/transform", Detail: err.Error()}}
	}
	return nil
}

// checkFilter gives the mistakes of what a patch says of events.
func (p EndpointPatch) checkFilter() []fault.Detail {
	mistakes := append(checkTypes(p.EventTypes), checkPattern(p.Pattern)...)
	if p.Transform != nil {
		mistakes = append(mistakes, checkTransform(*p.Transform)...)
	}
	for field, given := range map[string]bool{"pattern": p.Pattern != nil, "transform": p.Transform != nil} {
		if given && slices.Contains(p.Reset, field) {
			mistakes = append(mistakes, fault.Detail{Pointer: "/reset", Detail: "must not name " + field + ", which is given as well"})
		}
	}
	return mistakes
}

// applyFilter changes what the endpoint gets of events. That event_types end the
// subscription is never undone by a pattern that takes the place of another.
func (p EndpointPatch) applyFilter(t *target) {
	if p.EventTypes != nil {
		t.EventTypes = p.EventTypes
	}
	if p.Pattern != nil {
		if t.Pattern == nil && p.EventTypes == nil {
			t.EventTypes = typesBeside(p.Pattern, t.EventTypes)
		}
		t.Pattern = p.Pattern
	}
	set(&t.Transform, p.Transform)
	if slices.Contains(p.Reset, "pattern") {
		t.Pattern = nil
	}
	if slices.Contains(p.Reset, "transform") {
		t.Transform = ""
	}
}

// typesBeside gives the types of an endpoint that has a pattern: one that says nothing
// of them wants all that its pattern takes. They are written down, so that it is shown.
func typesBeside(raw httpapi.JSON, types []string) []string {
	if raw != nil && len(types) == 0 {
		return []string{everything}
	}
	return types
}
