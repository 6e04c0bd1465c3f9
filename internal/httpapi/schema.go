package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signalstack/signalstack/internal/fault"
)

// SchemaOf gives the schema of a T, as a reference when T is a struct.
func SchemaOf[T any](r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// checkSchema lets huma check the fields against the schema of T. Free-form
// fields are not parsed for it: whatever they hold is legal.
func checkSchema[T any](r huma.Registry, fields []field) []fault.Detail {
	schema := r.Schema(reflect.TypeFor[T](), false, "")
	values := make(map[string]any, len(fields))
	for _, f := range fields {
		prop := schema.Properties[f.name]
		if prop != nil && prop.Ref == "" && prop.Type == "" && prop.OneOf == nil {
			values[f.name] = struct{}{}
			continue
		}
		values[f.name] = looseValue(r, prop, f.value)
	}
	res := &huma.ValidateResult{}
	path := huma.NewPathBuffer(make([]byte, 0, 128), 0)
	huma.Validate(r, schema, path, huma.ModeWriteToServer, values, res)
	mistakes := make([]fault.Detail, 0, len(res.Errors))
	for _, err := range res.Errors {
		if d, ok := errors.AsType[*huma.ErrorDetail](err); ok {
			mistakes = append(mistakes, detailOf(d))
		}
	}
	return mistakes
}

// null stands for a null in the schema check. No field of ours may be null, as
// absence says the same; huma would pass it where the field may be absent.
type null struct{}

// looseValue decodes for the schema check alone. It makes values that huma refuses
// where they do not fit and does not mind elsewhere.
func looseValue(r huma.Registry, s *huma.Schema, raw []byte) any {
	if raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 { // the most of all values
		return string(raw[1 : len(raw)-1])
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return null{}
	}
	return loosen(r, s, v)
}

// loosen prepares a value for its schema, which is nil where there is none.
func loosen(r huma.Registry, s *huma.Schema, v any) any {
	for s != nil && s.Ref != "" {
		s = r.SchemaFromRef(s.Ref)
	}
	if s == nil {
		s = &huma.Schema{}
	}
	switch v := v.(type) {
	case nil:
		return null{}
	case json.Number:
		return looseNumber(s, v.String())
	case []any:
		for i := range v {
			v[i] = loosen(r, s.Items, v[i])
		}
	case map[string]any:
		others, _ := s.AdditionalProperties.(*huma.Schema)
		for k := range v {
			of, ok := s.Properties[k]
			if !ok {
				of = others
			}
			v[k] = loosen(r, of, v[k])
		}
	}
	return v
}

// looseNumber leaves as text what no field of ours can hold: a number beyond all
// of them and, where a whole one is due, one that Go would not read as such (2.0).
func looseNumber(s *huma.Schema, text string) any {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(f) >= math.MaxInt64 || s.Type == huma.TypeInteger && strings.ContainsAny(text, ".eE") {
		return text
	}
	return f
}
