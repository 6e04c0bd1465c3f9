package httpapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/signalstack/signalstack/internal/fault"
)

// field is one of an object, as its bytes.
type field struct {
	name       string
	key, value []byte // the key with its quotes
}

// splitObject gives the top-level fields of a text that is JSON, in their order, and
// one that stands twice once; nil when it is no object. Nothing within the fields is
// looked at beyond its end.
func splitObject(raw []byte) ([]field, []fault.Detail) {
	raw = bytes.TrimSpace(raw)
	if len(raw) < 2 || raw[0] != '{' {
		return nil, []fault.Detail{{Pointer: "", Detail: "must be a JSON object"}}
	}
	fields := make([]field, 0, 8)
	var mistakes []fault.Detail
	for at := skipSpace(raw, 1); raw[at] == '"'; {
		end := stringEnd(raw, at)
		f := field{key: raw[at:end]}
		if err := json.Unmarshal(f.key, &f.name); err != nil {
			return nil, []fault.Detail{{Pointer: "", Detail: err.Error()}}
		}
		at = skipSpace(raw, skipSpace(raw, end)+len(":"))
		end = valueEnd(raw, at)
		f.value = raw[at:end]
		if i := indexOf(fields, f.name); i >= 0 {
			mistakes = append(mistakes, fault.Detail{Pointer: "/" + escapePointer(f.name), Detail: "stands twice; send it once"})
			fields[i] = f
		} else {
			fields = append(fields, f)
		}
		if at = skipSpace(raw, end); raw[at] == ',' {
			at = skipSpace(raw, at+1)
		}
	}
	return fields, mistakes
}

// SplitObject gives the top-level fields of a JSON text as bytes, and those that stand
// twice as mistakes; nil when raw is no object.
func SplitObject(raw []byte) (map[string]json.RawMessage, []fault.Detail) {
	if !json.Valid(raw) {
		return nil, []fault.Detail{{Pointer: "", Detail: "must be a JSON object"}}
	}
	fields, mistakes := splitObject(raw)
	if fields == nil {
		return nil, mistakes
	}
	named := make(map[string]json.RawMessage, len(fields))
	for _, f := range fields {
		named[f.name] = f.value
	}
	return named, mistakes
}

func indexOf(fields []field, name string) int {
	for i := range fields {
		if fields[i].name == name {
			return i
		}
	}
	return -1
}

func skipSpace(raw []byte, at int) int {
	for raw[at] == ' ' || raw[at] == '\t' || raw[at] == '\n' || raw[at] == '\r' {
		at++
	}
	return at
}

// stringEnd gives the place behind the string that begins at a place.
func stringEnd(raw []byte, at int) int {
	for at++; ; at++ {
		at += bytes.IndexByte(raw[at:], '"')
		backslashes := 0
		for raw[at-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return at + 1
		}
	}
}

// valueEnd gives the place behind the value that begins at a place.
func valueEnd(raw []byte, at int) int {
	depth := 0
	for {
		switch raw[at] {
		case '"':
			at = stringEnd(raw, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		case ',', ':', ' ', '\t', '\n', '\r':
			at++
			continue
		default: // number, true, false or null
			for at < len(raw) && bytes.IndexByte([]byte(",]} \t\n\r"), raw[at]) < 0 {
				at++
			}
		}
		if depth == 0 {
			return at
		}
	}
}

// minVerbatim is the size from which looking for a field that keeps its bytes costs
// less than reading them.
const minVerbatim = 128

// setFields decodes fields into a struct. Large ones of type JSON are set to their
// bytes, without another look at them; they are most of a large body.
func setFields(to any, raw []byte, fields []field) error {
	target := reflect.ValueOf(to).Elem()
	rest := make([]byte, 0, 256)
	verbatim := false
	for _, f := range fields {
		if len(f.value) >= minVerbatim {
			if i, ok := verbatimField(target.Type(), f.name); ok {
				target.Field(i).SetBytes(f.value)
				verbatim = true
				continue
			}
		}
		rest = append(append(append(append(rest, ','), f.key...), ':'), f.value...)
	}
	switch {
	case !verbatim:
		return json.Unmarshal(raw, to)
	case len(rest) == 0:
		return nil
	}
	rest[0] = '{'
	return json.Unmarshal(append(rest, '}'), to)
}

// verbatimField finds the field of type JSON that has a name in bodies. Structs with
// decoding of their own have none.
func verbatimField(t reflect.Type, name string) (int, bool) {
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return 0, false
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Type == reflect.TypeFor[JSON]() && jsonName(f) == name {
			return i, true
		}
	}
	return 0, false
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
