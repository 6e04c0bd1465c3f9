package eventtypes_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/fault"
)

func compile(t *testing.T, schema string) *eventtypes.Schema {
	t.Helper()
	s, mistakes := eventtypes.Compile([]byte(schema))
	require.Empty(t, mistakes)
	return s
}

// said writes mistakes as "pointer detail".
func said(mistakes []fault.Detail) []string {
	all := []string{}
	for _, m := range mistakes {
		all = append(all, strings.TrimSpace(m.Pointer+" "+m.Detail))
	}
	return all
}

func TestEachMistakeHasItsPlaceAndWhatIsWanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		schema, data string
		want         []string
	}{
		"none":           {`{"type":"object"}`, `{"a":1}`, []string{}},
		"type":           {`{"properties":{"a":{"type":["string","null"]}}}`, `{"a":1}`, []string{"/a must be null or string, and is number"}},
		"required":       {`{"required":["a","b/c"]}`, `{}`, []string{"/a is required by the schema", "/b~1c is required by the schema"}},
		"additional":     {`{"properties":{"a":{}},"additionalProperties":false}`, `{"a":1,"b~":2}`, []string{"/b~0 is not known to the schema; remove it"}},
		"dependent":      {`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, []string{"/b is required by the schema beside a"}},
		"enum":           {`{"enum":["x",1]}`, `"y"`, []string{`must be one of ["x",1]`}},
		"const":          {`{"properties":{"a":{"const":"x"}}}`, `{"a":2}`, []string{`/a must be "x"`}},
		"pattern":        {`{"properties":{"a":{"pattern":"^b+$"}}}`, `{"a":"secret"}`, []string{"/a must match the regular expression ^b+$"}},
		"format":         {`{"properties":{"a":{"format":"email"}}}`, `{"a":"secret"}`, []string{"/a must have the format email"}},
		"minimum":        {`{"items":{"minimum":0.5}}`, `[0.25,1]`, []string{"/0 must be at least 0.5"}},
		"maximum":        {`{"maximum":9007199254740993}`, `9007199254740994`, []string{"must be at most 9007199254740993"}},
		"large and fit":  {`{"maximum":9007199254740993}`, `9007199254740993`, []string{}},
		"exclusive":      {`{"exclusiveMinimum":1,"exclusiveMaximum":1}`, `1`, []string{"must be less than 1", "must be more than 1"}},
		"multiple":       {`{"multipleOf":0.01}`, `1.005`, []string{"must be a multiple of 0.01"}},
		"length":         {`{"minLength":3}`, `"äö"`, []string{"must have at least 3 characters, and has 2"}},
		"max length":     {`{"maxLength":1}`, `"äö"`, []string{"must have at most 1 characters, and has 2"}},
		"items":          {`{"minItems":2,"items":{"type":"integer"}}`, `["a"]`, []string{"must have at least 2 items, and has 1", "/0 must be integer, and is string"}},
		"max items":      {`{"maxItems":0}`, `[1]`, []string{"must have at most 0 items, and has 1"}},
		"unique":         {`{"uniqueItems":true}`, `[1,2,1.0]`, []string{"must not have an item twice: items 0 and 2 are equal"}},
		"contains":       {`{"contains":{"const":1}}`, `[2]`, []string{"has no item that the schema wants (contains)"}},
		"properties":     {`{"minProperties":2}`, `{"a":1}`, []string{"must have at least 2 fields, and has 1"}},
		"max properties": {`{"maxProperties":0}`, `{"a":1}`, []string{"must have at most 0 fields, and has 1"}},
		"names":          {`{"propertyNames":{"maxLength":1}}`, `{"long":1}`, []string{"has a field whose name the schema does not allow"}},
		"not":            {`{"not":{"type":"null"}}`, `null`, []string{"must not match what the schema excludes (not)"}},
		"anyOf":          {`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `1`, []string{"matches none of the schema's alternatives (anyOf)"}},
		"oneOf none":     {`{"oneOf":[{"type":"string"}]}`, `1`, []string{"matches none of the schema's alternatives (oneOf)"}},
		"oneOf two":      {`{"oneOf":[{"type":"number"},{"type":"integer"}]}`, `1`, []string{"matches several of the schema's alternatives, and must match one (oneOf)"}},
		"false":          {`{"properties":{"a":false}}`, `{"a":1}`, []string{"/a is not allowed by the schema"}},
		"through a ref":  {`{"$defs":{"n":{"type":"number"}},"properties":{"a":{"$ref":"#/$defs/n"}}}`, `{"a":""}`, []string{"/a must be number, and is string"}},
		"no data":        {`{"type":"object"}`, ``, []string{"must be object, and is null"}},
		"unevaluated":    {`{"properties":{"a":{}},"unevaluatedProperties":false}`, `{"a":1,"b":2}`, []string{"/b is not allowed by the schema"}},
	} {
		got := said(compile(t, c.schema).Validate([]byte(c.data)))
		require.Equal(t, c.want, got, name)
	}
}

func TestMistakesAreCutToTwenty(t *testing.T) {
	t.Parallel()
	mistakes := compile(t, `{"items":{"type":"string"}}`).Validate([]byte("[" + strings.Repeat("1,", 99) + "1]"))
	require.Len(t, mistakes, 21)
	require.Equal(t, "has 80 more mistakes", mistakes[20].Detail)
}

func TestNothingOutsideASchemaIsRead(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "s.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"const":"leaked"}`), 0o600))
	for _, ref := range []string{server.URL + "/s.json", "file://" + file, "other.json", "/etc/passwd", "//127.0.0.1/x"} {
		for _, keyword := range []string{"$ref", "$dynamicRef"} {
			schema, mistakes := eventtypes.Compile(fmt.Appendf(nil, `{"properties":{"a/b":{%q:%q}}}`, keyword, ref))
			require.Nil(t, schema, ref)
			require.Equal(t, "/properties/a~1b/"+keyword, mistakes[0].Pointer, ref)
			require.Contains(t, mistakes[0].Detail, "other documents are not followed", ref)
			require.NotContains(t, mistakes[0].Detail, "leaked")
		}
	}
	require.Zero(t, asked.Load())
}

func TestSchemaIsRefusedWithThePlaceOfItsMistake(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		`[]`:                              "must be a JSON Schema",
		`{"type":"strin"}`:                "/type ",
		`{"properties":{"a":{"type":1}}}`: "/properties/a/type ",
		`{"pattern":"(?=a)"}`:             "/pattern ",
		`{"patternProperties":{"(":{}}}`:  "/patternProperties",
		`{"$ref":"#/$defs/missing"}`:      "/$ref refers to #/$defs/missing",
		`{"$schema":"http://json-schema.org/draft-07/schema#"}`:        "/$schema must be https://json-schema.org/draft/2020-12/schema",
		`{"minimum":1e1000000}`:                                        "/minimum is a number of more than 400 digits",
		`{"description":"` + strings.Repeat("x", 64<<10) + `"}`:        "a schema may have 65536",
		strings.Repeat(`{"not":`, 70) + "{}" + strings.Repeat("}", 70): "nests deeper than 64 levels",
		`{"$ref":"#"}`: "comes back to itself",
		`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"}]}}}`: "comes back to itself",
	} {
		s, mistakes := eventtypes.Compile([]byte(schema))
		require.Nil(t, s, "%.100s", schema)
		require.Contains(t, strings.Join(said(mistakes), "\n"), want, "%.100s", schema)
	}
}

func TestSchemaThatFansOutIsRefused(t *testing.T) {
	t.Parallel()
	// Each definition asks the next one twice: 2^40 looks at one value.
	defs := map[string]any{"d40": map[string]any{}}
	for i := range 40 {
		next := map[string]string{"$ref": fmt.Sprintf("#/$defs/d%d", i+1)}
		defs[fmt.Sprintf("d%d", i)] = map[string]any{"allOf": []any{next, next}}
	}
	wide, err := json.Marshal(map[string]any{"$ref": "#/$defs/d0", "$defs": defs})
	require.NoError(t, err)
	for name, schema := range map[string]string{
		"by the schema": string(wide),
		"by the data":   `{"oneOf":[{"properties":{"x":{"$ref":"#"}}},{"properties":{"x":{"$ref":"#"}}}]}`,
		"by items":      `{"allOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`,
	} {
		s, mistakes := eventtypes.Compile([]byte(schema))
		require.Nil(t, s, name)
		require.Contains(t, mistakes[0].Detail, "looks at one value up to", name)
	}
	for name, schema := range map[string]string{
		"a list":      `{"properties":{"next":{"$ref":"#"}}}`,
		"a tree":      `{"properties":{"left":{"$ref":"#"},"right":{"$ref":"#"}}}`,
		"50 variants": `{"oneOf":[` + strings.Repeat(`{"required":["a"]},`, 49) + `{}]}`,
	} {
		_, mistakes := eventtypes.Compile([]byte(schema))
		require.Empty(t, mistakes, name)
	}
}

func TestDearDataIsAMistakeAndNotComputed(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"items":{"multipleOf":0.7}}`)
	data := "[" + strings.TrimSuffix(strings.Repeat("1e999999,", 50_000), ",") + "]"
	start := time.Now()
	require.Equal(t, []string{"/0 is a number of more than 400 digits, which no schema is asked about"}, said(s.Validate([]byte(data))))
	require.Less(t, time.Since(start), 20*time.Second, "it would take hours")
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	require.Contains(t, s.Validate([]byte(deep))[0].Detail, "nests deeper than 64 levels")
}

// FuzzCompile looks for schemas and data that are not survived.
func FuzzCompile(f *testing.F) {
	for _, schema := range []string{
		`{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"array","items":{"$dynamicRef":"#x"},"$dynamicAnchor":"x"}}}`,
		`{"$id":"https://example.com/a","$anchor":"b","unevaluatedItems":false,"prefixItems":[true,{"if":{},"then":{"const":1}}]}`,
		`{"patternProperties":{"^a":{"format":"date-time"}},"dependentSchemas":{"a":{"not":{}}},"enum":[1,null,"a"]}`,
	} {
		f.Add(schema, `{"a":[1,{"b":null}]}`)
	}
	f.Fuzz(func(_ *testing.T, schema, data string) {
		s, mistakes := eventtypes.Compile([]byte(schema))
		if s == nil {
			if len(mistakes) == 0 {
				panic("refused without a mistake")
			}
			return
		}
		s.Validate([]byte(data))
	})
}
