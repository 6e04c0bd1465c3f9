package eventtypes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/signalstack/signalstack/internal/fault"
)

// Limits of a schema, and of the values that it is asked about.
const (
	maxSchema = 64 << 10 // bytes
	// maxLevels is how deep a schema and checked data may nest. What a schema costs is
	// computed for so many levels.
	maxLevels = 64
	// maxDigits is how many digits a number may have, written out. The library computes
	// with exact fractions, which 1e1000000 would take seconds of.
	maxDigits = 400
)

// Schema is a compiled JSON Schema. It does not change and may be used by many at
// once.
type Schema struct{ compiled *jsonschema.Schema }

// location is where a schema pretends to be, so that a relative reference becomes
// an address that is refused like any other.
const location = "signalstack://schema"

// errOutside refuses whatever a schema wants to be loaded.
var errOutside = errors.New("references to other documents are not followed")

// nothing is a loader that loads nothing: the library's own reads local files.
type nothing struct{}

func (nothing) Load(string) (any, error) { return nil, errOutside }

// Compile reads a JSON Schema of the draft 2020-12. Its mistakes have pointers from
// the schema's root.
func Compile(raw []byte) (schema *Schema, mistakes []fault.Detail) {
	// The library is not made for hostile schemas.
	defer func() {
		if p := recover(); p != nil {
			schema, mistakes = nil, mistake("", "cannot be compiled")
		}
	}()
	if len(raw) > maxSchema {
		return nil, mistake("", "has %d bytes; a schema may have %d", len(raw), maxSchema)
	}
	doc, mistakes := parse(raw)
	if mistakes != nil {
		return nil, mistakes
	}
	if wrong := checkDraft(doc); wrong != nil {
		return nil, wrong
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nothing{})
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(location, doc); err != nil {
		return nil, mistake("", "cannot be compiled: %v", err)
	}
	compiled, err := c.Compile(location)
	if err != nil {
		return nil, compileMistakes(doc, err)
	}
	if wrong := weigh(compiled); wrong != "" {
		return nil, mistake("", "%s", wrong)
	}
	return &Schema{compiled}, nil
}

func mistake(pointer, format string, args ...any) []fault.Detail {
	return []fault.Detail{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}}
}

// parse reads JSON with numbers as they are written, and refuses what would be
// dear to look at.
func parse(raw []byte) (any, []fault.Detail) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, mistake("", "is not JSON: %v", err)
	}
	return doc, checkValue(doc, "", 1)
}

func checkValue(v any, pointer string, level int) []fault.Detail {
	if level > maxLevels {
		return mistake(pointer, "nests deeper than %d levels, which no schema is asked about", maxLevels)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if wrong := checkValue(value, pointer+"/"+escape(name), level+1); wrong != nil {
				return wrong
			}
		}
	case []any:
		for i, value := range v {
			if wrong := checkValue(value, pointer+"/"+strconv.Itoa(i), level+1); wrong != nil {
				return wrong
			}
		}
	case json.Number:
		if digitsOf(string(v)) > maxDigits {
			return mistake(pointer, "is a number of more than %d digits, which no schema is asked about", maxDigits)
		}
	}
	return nil
}

// digitsOf bounds the digits of a number that is written out.
func digitsOf(number string) int {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	n, err := strconv.Atoi(exponent)
	if err != nil && exponent != "" || n > maxDigits || n < -maxDigits {
		return maxDigits + 1
	}
	return len(mantissa) + max(n, -n)
}

var escaper = strings.NewReplacer("~", "~0", "/", "~1")

func escape(name string) string { return escaper.Replace(name) }

// checkDraft lets a schema say its draft, when it is the one that is spoken here.
func checkDraft(doc any) []fault.Detail {
	object, ok := doc.(map[string]any)
	if !ok {
		if _, ok := doc.(bool); ok {
			return nil
		}
		return mistake("", "must be a JSON Schema, which is an object")
	}
	const draft = "https://json-schema.org/draft/2020-12/schema"
	said, ok := object["$schema"]
	if text, isText := said.(string); ok && (!isText || strings.TrimSuffix(text, "#") != draft) {
		return mistake("/$schema", "must be %s, or absent", draft)
	}
	return nil
}

// compileMistakes says why a schema does not compile, and where.
func compileMistakes(doc any, err error) []fault.Detail {
	if e, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if invalid, ok := errors.AsType[*jsonschema.ValidationError](e.Err); ok {
			return below(pointerIn(e.URL), readMistakes(invalid, true))
		}
	}
	if e, ok := errors.AsType[*jsonschema.InvalidRegexError](err); ok {
		return mistake(pointerIn(e.URL), "is no regular expression of RE2 (https://github.com/google/re2/wiki/Syntax): %v", e.Err)
	}
	if e, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		return mistake(findOutside(doc, ""), "refers to %s: %v; put what it needs under $defs and refer to #/$defs/NAME", e.URL, errOutside)
	}
	if e, ok := errors.AsType[*jsonschema.JSONPointerNotFoundError](err); ok {
		return mistake(findRef(doc, pointerIn(e.URL), ""), "refers to %s, which is not in the schema", "#"+pointerIn(e.URL))
	}
	return mistake("", "cannot be compiled: %s", strings.ReplaceAll(err.Error(), location, ""))
}

// pointerIn gives the JSON pointer of an address in the schema.
func pointerIn(url string) string {
	_, pointer, _ := strings.Cut(url, "#")
	return pointer
}

// findOutside gives the place of the first reference out of a document, or "".
func findOutside(doc any, pointer string) string {
	return search(doc, pointer, func(name, value string) bool {
		switch name {
		case "$ref", "$dynamicRef", "$schema":
			return value != "" && !strings.HasPrefix(value, "#")
		}
		return false
	})
}

// findRef gives the place of a reference to a pointer of the document.
func findRef(doc any, to, pointer string) string {
	return search(doc, pointer, func(name, value string) bool { return name == "$ref" && value == "#"+to })
}

func search(doc any, pointer string, is func(name, value string) bool) string {
	switch doc := doc.(type) {
	case map[string]any:
		for name, value := range doc {
			at := pointer + "/" + escape(name)
			if text, ok := value.(string); ok && is(name, text) {
				return at
			}
			if found := search(value, at, is); found != "" {
				return found
			}
		}
	case []any:
		for i, value := range doc {
			if found := search(value, pointer+"/"+strconv.Itoa(i), is); found != "" {
				return found
			}
		}
	}
	return ""
}

// Validate gives the mistakes of data, with pointers from its root and at most
// maxMistakes of them. No data counts as null.
func (s *Schema) Validate(data []byte) (mistakes []fault.Detail) {
	defer func() {
		if p := recover(); p != nil {
			mistakes = mistake("", "could not be checked by the schema")
		}
	}()
	if len(data) == 0 {
		data = []byte("null")
	}
	doc, mistakes := parse(data)
	if mistakes != nil {
		return mistakes
	}
	err := s.compiled.Validate(doc)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return mistake("", "could not be checked by the schema")
	}
	return readMistakes(invalid, false)
}
