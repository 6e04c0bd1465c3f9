package httpapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzSplitObject compares with encoding/json, which keeps the last of two fields too.
func FuzzSplitObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, " {\n\"a\" :\t[1,{\"b\":\"}\"}] , \"c\\\"\\u0041\":\"\\\\\" }\r", `{"a":null,"a":-1.5e3,"":{}}`, `{"x":"\\\\\"","y":true}`, `[1]`, `1`, `"{"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			t.Skip()
		}
		var want map[string]json.RawMessage
		isObject := json.Unmarshal(raw, &want) == nil && want != nil
		fields, _ := splitObject(raw)
		require.Equal(t, isObject, fields != nil)
		require.Len(t, fields, len(want))
		for _, field := range fields {
			require.Equal(t, string(want[field.name]), string(field.value), field.name)
		}
	})
}
