package eventtypes

import (
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxWeight is how often a schema may look at one value, whatever the data.
const maxWeight = 200

// weigh refuses a schema that is short and takes for ever: references that fan out
// make a number of looks that grows with a power of the depth, of the schema or of
// the data.
func weigh(s *jsonschema.Schema) string {
	w := weigher{memo: map[place]int{}, open: map[place]bool{}}
	for level := range maxLevels {
		switch most := w.weight(s, level); {
		case w.circular:
			return "has a reference that comes back to itself without going into the data"
		case most > maxWeight:
			return fmt.Sprintf("looks at one value up to %s times, through allOf, anyOf, oneOf and $ref together; it may %d times", atLeast(most), maxWeight)
		}
	}
	return ""
}

func atLeast(n int) string {
	if n > tooHeavy {
		return "more than 1000000"
	}
	return fmt.Sprint(n)
}

// tooHeavy is where the weigher stops counting.
const tooHeavy = 1_000_000

// place is a schema at a level below the root of the data.
type place struct {
	schema *jsonschema.Schema
	level  int
}

// weigher computes how often a value that lies some levels below another one is
// looked at, at most, when a schema is asked about that other one.
type weigher struct {
	memo     map[place]int
	open     map[place]bool // being computed
	circular bool
}

func (w *weigher) weight(s *jsonschema.Schema, level int) int {
	if s == nil || s.Bool != nil {
		return 0
	}
	at := place{s, level}
	if n, known := w.memo[at]; known {
		return n
	}
	if w.open[at] {
		w.circular = true
		return 0
	}
	w.open[at] = true
	defer delete(w.open, at)
	n := 1
	if level > 0 {
		n = w.below(s, level-1)
	}
	for _, same := range inPlace(s) {
		n += w.weight(same, level)
	}
	n = min(n, tooHeavy+1)
	w.memo[at] = n
	return n
}

// inPlace are the schemas that a schema asks about the same value.
func inPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	all := []*jsonschema.Schema{s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else}
	if s.DynamicRef != nil {
		all = append(all, s.DynamicRef.Ref)
	}
	all = append(append(append(all, s.AllOf...), s.AnyOf...), s.OneOf...)
	for _, sub := range s.DependentSchemas {
		all = append(all, sub)
	}
	for _, d := range s.Dependencies {
		if sub, ok := d.(*jsonschema.Schema); ok {
			all = append(all, sub)
		}
	}
	return all
}

// below is how often a value inside a field or an item is looked at: by the schema of
// its name or its place, and by all those that may be about any.
func (w *weigher) below(s *jsonschema.Schema, level int) int {
	field, item := 0, 0
	for _, sub := range s.Properties {
		field = max(field, w.weight(sub, level))
	}
	for _, sub := range s.PatternProperties {
		field += w.weight(sub, level)
	}
	for _, sub := range []any{s.AdditionalProperties, s.PropertyNames, s.UnevaluatedProperties} {
		field += w.any(sub, level)
	}
	for _, sub := range s.PrefixItems {
		item = max(item, w.weight(sub, level))
	}
	for _, sub := range []any{s.Items, s.AdditionalItems, s.Items2020, s.Contains, s.UnevaluatedItems} {
		item += w.any(sub, level)
	}
	return max(field, item)
}

// any weighs what may be a schema, a list of them or a bool.
func (w *weigher) any(v any, level int) int {
	switch v := v.(type) {
	case *jsonschema.Schema:
		return w.weight(v, level)
	case []*jsonschema.Schema:
		most := 0
		for _, s := range v {
			most = max(most, w.weight(s, level))
		}
		return most
	}
	return 0
}
