package eventtypes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/signalstack/signalstack/internal/fault"
)

// maxMistakes is how many mistakes of one value are told; the last says how many more
// there are.
const maxMistakes = 20

// readMistakes makes a sorted list of what the library found. The branches of an anyOf
// or oneOf are alternatives, so their mistakes are not all to be mended: the choice is
// one mistake, unless branches says to tell them all.
func readMistakes(err *jsonschema.ValidationError, branches bool) []fault.Detail {
	var all []fault.Detail
	collect(err, branches, &all)
	slices.SortFunc(all, func(a, b fault.Detail) int {
		return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Detail, b.Detail))
	})
	all = slices.Compact(all)
	if branches {
		all = oneForEach(all)
	}
	if more := len(all) - maxMistakes; more > 0 {
		all = append(all[:maxMistakes:maxMistakes], fault.Detail{Pointer: "", Detail: fmt.Sprintf("has %d more mistakes", more)})
	}
	return all
}

// oneForEach joins the mistakes of each place, which come one after the other.
func oneForEach(all []fault.Detail) []fault.Detail {
	var joined []fault.Detail
	for _, m := range all {
		if last := len(joined) - 1; last >= 0 && joined[last].Pointer == m.Pointer {
			joined[last].Detail += "; or " + m.Detail
			continue
		}
		joined = append(joined, m)
	}
	return joined
}

// collect walks to the errors that name a place.
func collect(err *jsonschema.ValidationError, branches bool, all *[]fault.Detail) {
	pointer := ""
	for _, name := range err.InstanceLocation {
		pointer += "/" + escape(name)
	}
	whole := false
	switch err.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Contains, *kind.MinContains:
		whole = !branches
	case *kind.PropertyNames: // what is below is about the name, and has no place
		whole = true
	}
	if !whole && len(err.Causes) > 0 {
		for _, cause := range err.Causes {
			collect(cause, branches, all)
		}
		return
	}
	*all = append(*all, describe(pointer, err.ErrorKind)...)
}

// describe says what a schema wants at a place. It never shows the value that is
// there, which may be personal and would outlive its erasure in stored answers.
func describe(pointer string, k jsonschema.ErrorKind) []fault.Detail {
	each := func(names []string, detail string) []fault.Detail {
		all := make([]fault.Detail, len(names))
		for i, name := range names {
			all[i] = fault.Detail{Pointer: pointer + "/" + escape(name), Detail: detail}
		}
		return all
	}
	switch k := k.(type) {
	case *kind.Required:
		return each(k.Missing, "is required by the schema")
	case *kind.DependentRequired:
		return each(k.Missing, "is required by the schema beside "+k.Prop)
	case *kind.Dependency:
		return each(k.Missing, "is required by the schema beside "+k.Prop)
	case *kind.AdditionalProperties:
		return each(k.Properties, "is not known to the schema; remove it")
	case *kind.PropertyNames:
		return mistake(pointer, "has a field whose name the schema does not allow")
	}
	return mistake(pointer, "%s", sayValue(k))
}

// sayValue says what is wrong with a single value.
func sayValue(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be %s, and is %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		return "must be one of " + text(k.Want)
	case *kind.Const:
		return "must be " + text(k.Want)
	case *kind.Format:
		return "must have the format " + k.Want
	case *kind.Pattern:
		return "must match the regular expression " + k.Want
	case *kind.MultipleOf:
		return "must be a multiple of " + decimal(k.Want)
	case *kind.FalseSchema:
		return "is not allowed by the schema"
	case *kind.Not:
		return "must not match what the schema excludes (not)"
	case *kind.AnyOf:
		return "matches none of the schema's alternatives (anyOf)"
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			return "matches several of the schema's alternatives, and must match one (oneOf)"
		}
		return "matches none of the schema's alternatives (oneOf)"
	}
	return sayBound(k)
}

// sayBound says which bound a value breaks.
func sayBound(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Minimum:
		return "must be at least " + decimal(k.Want)
	case *kind.Maximum:
		return "must be at most " + decimal(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + decimal(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + decimal(k.Want)
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters, and has %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, and has %d", k.Want, k.Got)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items, and has %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items, and has %d", k.Want, k.Got)
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %d fields, and has %d", k.Want, k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d fields, and has %d", k.Want, k.Got)
	case *kind.UniqueItems:
		return fmt.Sprintf("must not have an item twice: items %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.AdditionalItems:
		return fmt.Sprintf("has %d items too many", k.Count)
	case *kind.Contains:
		return "has no item that the schema wants (contains)"
	case *kind.MinContains:
		return fmt.Sprintf("has %d of the items that the schema wants at least %d of (minContains)", len(k.Got), k.Want)
	case *kind.MaxContains:
		return fmt.Sprintf("has %d of the items that the schema wants at most %d of (maxContains)", len(k.Got), k.Want)
	default:
		return "breaks the schema"
	}
}

// text shows a value of the schema, cut where it is long.
func text(v any) string {
	const most = 200
	b, err := json.Marshal(v)
	if err != nil {
		return "what the schema says"
	}
	if r := []rune(string(b)); len(r) > most {
		return string(r[:most]) + "..."
	}
	return string(b)
}

// decimal shows a bound as it was written, as far as that takes ten places.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return strings.TrimRight(r.FloatString(10), "0")
}
