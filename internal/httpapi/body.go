package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	decode   func(huma.Registry, []byte) (B, error)
	schema   func(huma.Registry) *huma.Schema
	optional bool // a request may have no body
}

// One parses a body that is one T.
func One[T any]() Parser[T] {
	return Parser[T]{
		decode: func(r huma.Registry, raw []byte) (T, error) {
			item, err := decodeOne[T](r, raw)
			return item.Value, errors.Join(err, item.Err())
		},
		schema: SchemaOf[T],
	}
}

// OneLoose parses a body that is one T and leaves its mistakes in the item: the
// handler adds those that only it can see, and refuses all of them together.
func OneLoose[T any]() Parser[Item[T]] {
	return Parser[Item[T]]{decode: decodeOne[T], schema: SchemaOf[T]}
}

// OptionalLoose is OneLoose for a T of which every field may be absent: no body at all
// is an object without fields.
func OptionalLoose[T any]() Parser[Item[T]] {
	return Parser[Item[T]]{
		decode: func(r huma.Registry, raw []byte) (Item[T], error) {
			if len(bytes.TrimSpace(raw)) == 0 {
				raw = []byte("{}")
			}
			return decodeOne[T](r, raw)
		},
		schema: SchemaOf[T], optional: true,
	}
}

func decodeOne[T any](r huma.Registry, raw []byte) (Item[T], error) {
	if err := CheckJSON(raw); err != nil {
		return Item[T]{}, err
	}
	return decodeItem[T](r, raw), nil
}

// Item is one value of a body with the bytes it was decoded from.
type Item[T any] struct {
	Value    T
	Raw      []byte
	Mistakes []fault.Detail // pointers from the item's own root
	// Fault is what is wrong with the value as a whole, before its mistakes; mostly nil.
	Fault *fault.Error

	named map[string]bool // the pointers of the mistakes
}

// Add takes up mistakes that were found later. One is enough for a field, and
// nothing is added on the fields of what was found wrong as a whole: a value that
// could not be decoded looks as if they were missing.
func (i *Item[T]) Add(found ...fault.Detail) {
	before := maps.Clone(i.named)
	if i.named == nil && len(found) > 0 {
		i.named = map[string]bool{}
	}
	for _, m := range found {
		parent := m.Pointer[:max(0, strings.LastIndexByte(m.Pointer, '/'))]
		if i.named[m.Pointer] || before[parent] {
			continue
		}
		i.named[m.Pointer] = true
		i.Mistakes = append(i.Mistakes, m)
	}
}

// Err is the fault of all mistakes together, or nil.
func (i *Item[T]) Err() error {
	if i.Fault != nil {
		return i.Fault
	}
	if len(i.Mistakes) == 0 {
		return nil
	}
	return fault.InvalidBody(i.Mistakes)
}

// Batch is a body that is one T or an array of them.
type Batch[T any] struct {
	Items []Item[T]
	Array bool   // the body was an array, and so is the answer
	Raw   []byte // the body as it came
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
	if err := CheckJSON(raw); err != nil {
		return Batch[T]{}, err
	}
	if raw = bytes.TrimSpace(raw); raw[0] != '[' {
		return Batch[T]{Raw: raw, Items: []Item[T]{decodeItem[T](r, raw)}}, nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return Batch[T]{}, notJSON(err)
	}
	if len(parts) == 0 || len(parts) > MaxBatch {
		return Batch[T]{}, fault.InvalidField("", "an array must have 1 to %d items, this one has %d", MaxBatch, len(parts))
	}
	b := Batch[T]{Array: true, Raw: raw, Items: make([]Item[T], len(parts))}
	for i, part := range parts {
		b.Items[i] = decodeItem[T](r, part)
	}
	return b, nil
}

// CheckJSON refuses what is no JSON text at all, or nests too deep.
func CheckJSON(raw []byte) error {
	switch {
	case len(bytes.TrimSpace(raw)) == 0:
		return emptyBody()
	case !utf8.Valid(raw):
		return fault.New(fault.Malformed, "invalid_utf8", "The body is not valid UTF-8.")
	case tooDeep(raw):
		return fault.New(fault.Malformed, "too_deep", "The body nests deeper than %d levels.", MaxDepth)
	case !json.Valid(raw):
		return notJSON(json.Unmarshal(raw, new(json.RawMessage)))
	}
	return nil
}

func emptyBody() *fault.Error {
	return &fault.Error{
		Kind: fault.Malformed, Code: "empty_body", Message: "The body is empty; send a JSON object.",
		Details: []fault.Detail{{Pointer: "", Detail: "must be a JSON object"}},
	}
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
	item.Add(mistakes...)
	if fields == nil {
		return item
	}
	item.Add(checkSchema[T](r, fields)...)
	// Unmarshal goes on past a field of the wrong type, which the schema has named
	// already, so Validate sees the others.
	if err := setFields(&item.Value, raw, fields); err != nil && len(item.Mistakes) == 0 {
		item.Add(fault.Detail{Pointer: "", Detail: err.Error()})
	}
	if v, ok := any(item.Value).(Validator); ok {
		item.Add(v.Validate()...)
	}
	return item
}

// ObjectDecoder decodes a T that stands inside a body, such as the payload of a job,
// as strictly as a body is decoded: by the schema of T and its own rules. No bytes
// at all count as an object without fields. Pointers start at the object.
func ObjectDecoder[T any]() func(raw []byte) (T, []fault.Detail) {
	hookHuma()
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	SchemaOf[T](r) // a registry that has the type is only read from, by any number at once
	return func(raw []byte) (T, []fault.Detail) {
		if len(raw) == 0 {
			raw = []byte("{}")
		}
		if !json.Valid(raw) {
			var none T
			return none, []fault.Detail{{Pointer: "", Detail: "must be a JSON object"}}
		}
		item := decodeItem[T](r, raw)
		return item.Value, item.Mistakes
	}
}
