package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signalstack/signalstack/internal/fault"
)

// MaxDepth is how deep a body may nest. Go stops at 10,000 and many receivers
// far earlier.
const MaxDepth = 512

// Validator is a body type with rules beyond its schema. Validate reports all
// mistakes at once with pointers from the body's root.
type Validator interface{ Validate() []fault.Detail }

// Parser makes a B of a body's bytes and documents it.
type Parser[B any] struct {
	decode func(huma.Registry, []byte) (B, error)
	schema func(huma.Registry) *huma.Schema
}

// One parses a body that is one T.
func One[T any]() Parser[T] {
	return Parser[T]{
		decode: func(r huma.Registry, raw []byte) (T, error) {
			var zero T
			if err := checkText(raw); err != nil {
				return zero, err
			}
			item := decodeItem[T](r, raw)
			if len(item.Mistakes) > 0 {
				return zero, fault.InvalidBody(item.Mistakes)
			}
			return item.Value, nil
		},
		schema: SchemaOf[T],
	}
}

// Item is one value of a body with the bytes it was decoded from.
type Item[T any] struct {
	Value    T
	Raw      []byte
	Mistakes []fault.Detail // pointers from the item's own root
}

// Batch is a body that is one T or an array of them.
type Batch[T any] struct {
	Items []Item[T]
	Array bool // the body was an array, and so is the answer
}

// MaxBatch is how many values an array body may have.
const MaxBatch = 1000

// OneOrMany parses a body that is one T or an array of 1 to MaxBatch. Mistakes
// are left in the items: the caller decides whether one spoils the rest.
func OneOrMany[T any]() Parser[Batch[T]] {
	return Parser[Batch[T]]{decode: decodeBatch[T], schema: func(r huma.Registry) *huma.Schema {
		one, least, most := SchemaOf[T](r), 1, MaxBatch
		return &huma.Schema{OneOf: []*huma.Schema{one, {Type: huma.TypeArray, Items: one, MinItems: &least, MaxItems: &most}}}
	}}
}

func decodeBatch[T any](r huma.Registry, raw []byte) (Batch[T], error) {
	if err := checkText(raw); err != nil {
		return Batch[T]{}, err
	}
	if raw = bytes.TrimSpace(raw); raw[0] != '[' {
		return Batch[T]{Items: []Item[T]{decodeItem[T](r, raw)}}, nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return Batch[T]{}, notJSON(err)
	}
	if len(parts) == 0 || len(parts) > MaxBatch {
		return Batch[T]{}, fault.InvalidField("", "an array must have 1 to %d items, this one has %d", MaxBatch, len(parts))
	}
	b := Batch[T]{Array: true, Items: make([]Item[T], len(parts))}
	for i, part := range parts {
		b.Items[i] = decodeItem[T](r, part)
	}
	return b, nil
}

// Mistakes gathers those of all items; in an array each pointer starts with the
// item's index.
func (b Batch[T]) Mistakes() []fault.Detail {
	var all []fault.Detail
	for i, item := range b.Items {
		for _, m := range item.Mistakes {
			if b.Array {
				m.Pointer = "/" + strconv.Itoa(i) + m.Pointer
			}
			all = append(all, m)
		}
	}
	return all
}

// SchemaOf gives the schema of a T, as a reference when T is a struct.
func SchemaOf[T any](r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// checkText refuses what is no JSON text at all.
func checkText(raw []byte) error {
	switch {
	case len(bytes.TrimSpace(raw)) == 0:
		return fault.New(fault.Malformed, "empty_body", "The body is empty; send a JSON object.")
	case !utf8.Valid(raw):
		return fault.New(fault.Malformed, "invalid_utf8", "The body is not valid UTF-8.")
	case tooDeep(raw):
		return fault.New(fault.Malformed, "too_deep", "The body nests deeper than %d levels.", MaxDepth)
	case !json.Valid(raw):
		return notJSON(json.Unmarshal(raw, new(json.RawMessage)))
	}
	return nil
}

func notJSON(err error) error {
	where := ""
	if se, ok := errors.AsType[*json.SyntaxError](err); ok {
		where = fmt.Sprintf(" at byte %d", se.Offset)
	}
	return fault.New(fault.Malformed, "not_json", "The body is not JSON: %v%s.", err, where)
}

// tooDeep counts brackets outside strings: it needs no stack and stops early.
func tooDeep(raw []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// decodeItem decodes one object: its schema, its duplicates and its own rules are
// checked together so that the caller learns every mistake at once.
func decodeItem[T any](r huma.Registry, raw []byte) Item[T] {
	item := Item[T]{Raw: raw}
	fields, mistakes := splitObject(raw)
	if fields == nil {
		item.Mistakes = mistakes
		return item
	}
	seen := map[string]bool{}
	for _, m := range mistakes {
		seen[m.Pointer] = true
	}
	add := func(found []fault.Detail) {
		for _, m := range found {
			if !seen[m.Pointer] {
				seen[m.Pointer] = true
				mistakes = append(mistakes, m)
			}
		}
	}
	add(checkSchema[T](r, fields))
	// Unmarshal goes on past a field of the wrong type, which the schema has named
	// already, so Validate sees the others.
	if err := json.Unmarshal(raw, &item.Value); err != nil && len(mistakes) == 0 {
		add([]fault.Detail{{Pointer: "", Detail: err.Error()}})
	}
	if v, ok := any(item.Value).(Validator); ok {
		add(v.Validate())
	}
	item.Mistakes = mistakes
	return item
}

// ObjectDecoder decodes a T that stands inside a body, such as the payload of a job,
// as strictly as a body is decoded: by the schema of T and its own rules. No bytes
// at all count as an object without fields. Pointers start at the object.
func ObjectDecoder[T any]() func(raw []byte) (T, []fault.Detail) {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	SchemaOf[T](r) // a registry that has the type is only read from, by any number at once
	return func(raw []byte) (T, []fault.Detail) {
		if len(raw) == 0 {
			raw = []byte("{}")
		}
		item := decodeItem[T](r, raw)
		return item.Value, item.Mistakes
	}
}

// splitObject gives the top-level fields as bytes; nil when raw is no object.
func splitObject(raw []byte) (map[string]json.RawMessage, []fault.Detail) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, []fault.Detail{{Pointer: "", Detail: "must be a JSON object"}}
	}
	fields := make(map[string]json.RawMessage, 8)
	var mistakes []fault.Detail
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, []fault.Detail{{Pointer: "", Detail: err.Error()}}
		}
		name := tok.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, []fault.Detail{{Pointer: "", Detail: err.Error()}}
		}
		if _, twice := fields[name]; twice {
			mistakes = append(mistakes, fault.Detail{Pointer: "/" + escapePointer(name), Detail: "stands twice; send it once"})
		}
		fields[name] = value
	}
	return fields, mistakes
}

func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// checkSchema lets huma check the fields against the schema of T. Free-form
// fields are not parsed for it: whatever they hold is legal.
func checkSchema[T any](r huma.Registry, fields map[string]json.RawMessage) []fault.Detail {
	schema := r.Schema(reflect.TypeFor[T](), false, "")
	values := make(map[string]any, len(fields))
	for name, raw := range fields {
		prop := schema.Properties[name]
		if prop != nil && prop.Ref == "" && prop.Type == "" && prop.OneOf == nil {
			values[name] = struct{}{}
			continue
		}
		values[name] = looseValue(raw)
	}
	res := &huma.ValidateResult{}
	path := huma.NewPathBuffer(make([]byte, 0, 128), 0)
	huma.Validate(r, schema, path, huma.ModeWriteToServer, values, res)
	mistakes := make([]fault.Detail, 0, len(res.Errors))
	for _, err := range res.Errors {
		if d, ok := errors.AsType[*huma.ErrorDetail](err); ok {
			mistakes = append(mistakes, schemaMistake(d))
		}
	}
	return mistakes
}

// schemaMistake puts a missing property's pointer on the property itself, where
// huma points at its parent.
func schemaMistake(d *huma.ErrorDetail) fault.Detail {
	pointer := pointerOf(d.Location)
	if name, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
		name = strings.TrimSuffix(name, " to be present")
		return fault.Detail{Pointer: pointer + "/" + name, Detail: "is required"}
	}
	if d.Message == "unexpected property" {
		return fault.Detail{Pointer: pointer, Detail: "is not a field known here; remove it"}
	}
	return fault.Detail{Pointer: pointer, Detail: d.Message}
}

// looseValue decodes for the schema check alone. A number that fits no field of
// ours becomes a text, so that the schema refuses it where it asks for a number
// and does not mind it elsewhere.
func looseValue(raw []byte) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return loosen(v)
}

func loosen(v any) any {
	switch v := v.(type) {
	case json.Number:
		f, err := strconv.ParseFloat(v.String(), 64)
		if err != nil || math.Abs(f) >= math.MaxInt64 {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = loosen(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = loosen(v[k])
		}
	}
	return v
}
