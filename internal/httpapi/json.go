package httpapi

import (
	"bytes"
	"fmt"
	"io"

	"github.com/danielgtaylor/huma/v2"
)

// JSON is a JSON value kept as the bytes it came as. Any value is legal, and none
// is decoded.
type JSON []byte

// MarshalJSON gives the bytes, or null when there are none.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("null"), nil
	}
	return j, nil
}

// UnmarshalJSON keeps the bytes.
func (j *JSON) UnmarshalJSON(b []byte) error {
	*j = bytes.Clone(b)
	return nil
}

// Schema documents that any value is legal.
func (JSON) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

// Scan reads a column of bytes; NULL is no value.
func (j *JSON) Scan(src any) error {
	switch src := src.(type) {
	case nil:
		*j = nil
	case []byte:
		*j = bytes.Clone(src)
	case string:
		*j = JSON(src)
	default:
		return fmt.Errorf("scan JSON from %T", src)
	}
	return nil
}

// Verbatim is an answer of the form of T that is JSON already and is sent byte for
// byte, white space included, which marshalling would drop.
type Verbatim[T any] struct{ text []byte }

// NewVerbatim makes an answer of v, which has at least one field, and one more field
// whose bytes stay as they are; without any the field is absent.
func NewVerbatim[T any](v T, name string, raw JSON) (Verbatim[T], error) {
	var b bytes.Buffer
	if err := huma.DefaultJSONFormat.Marshal(&b, v); err != nil {
		return Verbatim[T]{}, fmt.Errorf("marshal the answer: %w", err)
	}
	text := bytes.TrimSpace(b.Bytes())
	if len(raw) == 0 {
		return Verbatim[T]{text}, nil
	}
	text = append(bytes.TrimSuffix(text, []byte("}")), `,"`+name+`":`...)
	return Verbatim[T]{append(append(text, raw...), '}')}, nil
}

// Schema documents a T.
func (Verbatim[T]) Schema(r huma.Registry) *huma.Schema { return SchemaOf[T](r) }

func (v Verbatim[T]) verbatim() []byte { return v.text }

// marshaled is an answer that is JSON already.
type marshaled []byte

// marshalFirst makes JSON of an answer as the last of huma's transformations, which
// come before the status is written: huma's own marshalling comes after it, and its
// failure would leave a 200. A panic is answered like that of a handler.
func marshalFirst(_ huma.Context, _ string, answer any) (any, error) {
	if v, ok := answer.(interface{ verbatim() []byte }); ok {
		return marshaled(v.verbatim()), nil
	}
	var b bytes.Buffer
	if err := huma.DefaultJSONFormat.Marshal(&b, answer); err != nil {
		panic(fmt.Errorf("marshal the answer: %w", err))
	}
	return marshaled(b.Bytes()), nil
}

// marshaledFormat writes what marshalFirst made.
var marshaledFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		b, ok := v.(marshaled)
		if !ok {
			return huma.DefaultJSONFormat.Marshal(w, v)
		}
		_, err := w.Write(b)
		return err
	},
	Unmarshal: huma.DefaultJSONFormat.Unmarshal,
}
