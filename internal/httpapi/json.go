package httpapi

import (
	"bytes"
	"fmt"

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
