package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pattern"
)

var envelope = pattern.Envelope{
	ID: "0197a2b0-7c1d-7000-8000-000000000001", Type: "order.paid", Source: "shop",
	Time: "2026-11-23T10:00:00Z", Tenant: "default",
}

func compile(t testing.TB, raw string) *pattern.Pattern {
	t.Helper()
	p, err := pattern.Compile([]byte(raw))
	require.NoError(t, err, raw)
	return p
}

func TestMatchEnvelope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern string
		want    bool
	}{
		{`{"type":["order.paid"]}`, true},
		{`{"type":["order.refunded"]}`, false},
		{`{"type":["order.refunded","order.paid"]}`, true},
		{`{"type":["order"]}`, false},
		{`{"type":["Order.paid"]}`, false},
		{`{"type":[{"prefix":"order."}]}`, true},
		{`{"type":[{"prefix":"Order."}]}`, false},
		{`{"type":[{"prefix":""}]}`, true},
		{`{"type":["x",{"prefix":"y"},{"prefix":"order.p"}]}`, true},
		{`{"type":["order.\u0070aid"]}`, true},
		{`{"\u0074ype":["order.paid"]}`, true},
		{`{"type":[null,true,1]}`, false},
		{`{"type":["order.paid"],"source":["shop"]}`, true},
		{`{"type":["order.paid"],"source":["till"]}`, false},
		{`{"id":[{"prefix":"0197"}],"tenant":["default"],"time":[{"prefix":"2026-11-23T"}]}`, true},
		{`{"time":["2026-11-23T10:00:00+00:00"]}`, false},
		// An empty string is an absent field, and nothing matches what is absent.
		{`{"subject":[""]}`, false},
		{`{"subject":[null]}`, false},
		{`{"subject":[{"prefix":""}]}`, false},
		// Of two lists for one path the last counts.
		{`{"type":["order.paid"],"type":["order.refunded"]}`, false},
		{`{"type":["order.refunded"],"type":["order.paid"]}`, true},
		// There is no data.
		{`{"data":[null]}`, false},
		{`{"data":{"a":[null]}}`, false},
	} {
		require.Equal(t, c.want, compile(t, c.pattern).Match(pattern.NewEvent(envelope, nil)), c.pattern)
	}
}

func TestMatchData(t *testing.T) {
	t.Parallel()
	staff := `{"employees":[{"firstName":"Anna","lastName":"Smith"},{"firstName":"Bob","lastName":"Jones"}]}`
	wide := `{"k1":"first",` + manyFields(100) + `,"a":{"b":[2]}}`
	for _, c := range []struct {
		name, pattern, data string
		want                bool
	}{
		{"string", `{"a":["x"]}`, `{"a":"x"}`, true},
		{"string differs", `{"a":["x"]}`, `{"a":"y"}`, false},
		{"empty string", `{"a":[""]}`, `{"a":""}`, true},
		{"empty string is not null", `{"a":[""]}`, `{"a":null}`, false},
		{"number", `{"a":[42]}`, `{"a":42}`, true},
		{"number is not a string", `{"a":[42]}`, `{"a":"42"}`, false},
		{"string is not a number", `{"a":["42"]}`, `{"a":42}`, false},
		{"true", `{"a":[true]}`, `{"a":true}`, true},
		{"true is not false", `{"a":[true]}`, `{"a":false}`, false},
		{"false", `{"a":[false]}`, `{"a":false}`, true},
		{"true is not a string", `{"a":[true]}`, `{"a":"true"}`, false},
		{"null", `{"a":[null]}`, `{"a":null}`, true},
		{"null is not absent", `{"a":[null]}`, `{"b":1}`, false},
		{"null is not a string", `{"a":[null]}`, `{"a":"null"}`, false},
		{"null is not false", `{"a":[null]}`, `{"a":false}`, false},
		{"any of several", `{"a":["x",1,null]}`, `{"a":null}`, true},
		{"none of several", `{"a":["x",1,null]}`, `{"a":2}`, false},
		{"all fields", `{"a":[1],"b":[2]}`, `{"b":2,"c":3,"a":1}`, true},
		{"one field wrong", `{"a":[1],"b":[2]}`, `{"a":1,"b":3}`, false},
		{"one field absent", `{"a":[1],"b":[2]}`, `{"a":1}`, false},
		{"nested", `{"a":{"b":{"c":[1]}}}`, `{"a":{"b":{"c":1,"d":2}}}`, true},
		{"value where an object is asked", `{"a":{"b":[1]}}`, `{"a":1}`, false},
		{"object where a value is asked", `{"a":[1]}`, `{"a":{"b":1}}`, false},
		{"null where an object is asked", `{"a":{"b":[null]}}`, `{"a":null}`, false},
		{"names are exact", `{"a":[1]}`, `{"A":1}`, false},
		{"empty name", `{"":[1]}`, `{"":1}`, true},

		{"prefix", `{"a":[{"prefix":"ab"}]}`, `{"a":"abc"}`, true},
		{"prefix is all", `{"a":[{"prefix":"abc"}]}`, `{"a":"abc"}`, true},
		{"prefix too long", `{"a":[{"prefix":"abcd"}]}`, `{"a":"abc"}`, false},
		{"prefix inside", `{"a":[{"prefix":"bc"}]}`, `{"a":"abc"}`, false},
		{"prefix of a number", `{"a":[{"prefix":"4"}]}`, `{"a":42}`, false},
		{"prefix of null", `{"a":[{"prefix":"n"}]}`, `{"a":null}`, false},
		{"empty prefix of a string", `{"a":[{"prefix":""}]}`, `{"a":""}`, true},
		{"empty prefix of a number", `{"a":[{"prefix":""}]}`, `{"a":1}`, false},
		{"empty prefix of an object", `{"a":[{"prefix":""}]}`, `{"a":{}}`, false},
		{"prefix beyond ASCII", `{"a":[{"prefix":"é"}]}`, `{"a":"\u00e9t\u00e9"}`, true},

		{"operator's name as a field", `{"prefix":["x"]}`, `{"prefix":"x"}`, true},
		{"operator's name as an object", `{"exists":{"numeric":[1]}}`, `{"exists":{"numeric":1}}`, true},

		{"array", `{"a":[2]}`, `{"a":[1,2]}`, true},
		{"array without it", `{"a":[3]}`, `{"a":[1,2]}`, false},
		{"prefix in an array", `{"a":[{"prefix":"x"}]}`, `{"a":["w","xy"]}`, true},
		{"array of kinds", `{"a":["x"]}`, `{"a":[1,{"b":1},null,"x"]}`, true},
		{"empty array", `{"a":[null,""]}`, `{"a":[]}`, false},
		{"empty array in an array", `{"a":[null]}`, `{"a":[[],[[]]]}`, false},
		{"nested arrays", `{"a":[3]}`, `{"a":[[1],[2,[3]]]}`, true},
		{"array on the way", `{"a":{"b":[2]}}`, `{"a":[{"b":1},{"b":2}]}`, true},
		{"nested arrays on the way", `{"a":{"b":[2]}}`, `{"a":[[{"b":1}],[[{"b":[5,2]}]]]}`, true},
		{"same element", `{"employees":{"firstName":["Bob"],"lastName":["Jones"]}}`, staff, true},
		{"across elements", `{"employees":{"firstName":["Anna"],"lastName":["Jones"]}}`, staff, false},
		{"across elements, dotted", `{"employees.firstName":["Anna"],"employees":{"lastName":["Jones"]}}`, staff, false},
		{"across nested arrays", `{"a":{"b":[1],"c":[2]}}`, `{"a":[[{"b":1},{"c":2}]]}`, false},
		{"across inner arrays of one element", `{"a":{"b":[1],"c":[2]}}`, `{"a":[{"b":[0,1],"c":[2,3]}]}`, true},
		{"inner arrays of two elements", `{"a":{"b":{"x":[1],"y":[2]}}}`, `{"a":[{"b":[{"x":1},{"y":2}]},{"b":[{"x":1,"y":2}]}]}`, true},
		{"two arrays are independent", `{"a":{"x":[1]},"b":{"x":[2]}}`, `{"a":[{"x":1},{"x":9}],"b":[{"x":9},{"x":2}]}`, true},

		{"dotted", `{"a.b":[1]}`, `{"a":{"b":1}}`, true},
		{"dotted and nested", `{"a":{"b.c":[1]},"a.b":{"d":[2]}}`, `{"a":{"b":{"c":1,"d":2}}}`, true},
		{"dot in the event", `{"a.b":[1]}`, `{"a.b":1}`, false},
		{"dot at the end", `{"a.":[1]}`, `{"a":{"":1}}`, true},

		{"objects of one name are merged", `{"a":{"b":[1]},"a":{"c":[2]}}`, `{"a":{"c":2}}`, false},
		{"merged objects", `{"a":{"b":[1]},"a":{"c":[2]}}`, `{"a":{"b":1,"c":2}}`, true},
		{"last list counts", `{"a":[{"prefix":"us-"}],"a":["eu"]}`, `{"a":"eu"}`, true},
		{"first list does not", `{"a":[{"prefix":"us-"}],"a":["eu"]}`, `{"a":"us-east"}`, false},
		{"last list counts, dotted", `{"a.b":[1],"a":{"b":[2]}}`, `{"a":{"b":1}}`, false},
		{"value and object at once", `{"a":[1],"a":{"b":[2]}}`, `{"a":[1,{"b":2}]}`, false},

		{"last of two fields", `{"a":[2]}`, `{"a":1,"a":2}`, true},
		{"first of two fields", `{"a":[1]}`, `{"a":1,"a":2}`, false},
		{"last of two objects", `{"a":{"b":[1]}}`, `{"a":{"b":1},"a":{"c":1}}`, false},
		{"same name, other spelling", `{"a":[2]}`, `{"a":1,"\u0061":2}`, true},

		{"wide object", `{"k99":["v99"],"k7":["v7"],"a":{"b":[2]}}`, wide, true},
		{"wide object, last of two fields", `{"k1":["first"]}`, wide, false},
		{"wide object without it", `{"k0":["v0"]}`, wide, false},

		{"escapes", `{"a":["\"\\/\b\f\n\r\t"]}`, `{"a":"\u0022\u005c\u002F\u0008\u000c\u000A\u000d\u0009"}`, true},
		{"NUL", `{"a":["x\u0000y"]}`, `{"a":"x\u0000y"}`, true},
		{"NUL counts", `{"a":["x"]}`, `{"a":"x\u0000"}`, false},
		{"surrogate pair", `{"a":["😀"]}`, `{"a":"\ud83d\uDE00"}`, true},
		{"lone surrogate", `{"a":["\ud83d"]}`, `{"a":"\ud83d"}`, true},
		{"another lone surrogate", `{"a":["\ud83d"]}`, `{"a":"\ud83e"}`, false},
		{"lone surrogate is not U+FFFD", `{"a":["\ufffd"]}`, `{"a":"\ud83d"}`, false},
		{"lone surrogate is no other character", `{"a":["\ue83d"]}`, `{"a":"\ud83d"}`, false},
		{"lone surrogate before a pair", `{"a":["\ud83d😀"]}`, `{"a":"\ud83d\ud83d\ude00"}`, true},
		{"lone surrogate before an escape", `{"a":["\udc00A"]}`, `{"a":"\udc00\u0041"}`, true},
		{"lone surrogate starts no pair", `{"a":[{"prefix":"\ud83d"}]}`, `{"a":"😀"}`, false},
		{"composed is not decomposed", `{"a":["é"]}`, `{"a":"e\u0301"}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, `{"data":`+c.pattern+`}`)
			require.Equal(t, c.want, p.Match(pattern.NewEvent(envelope, []byte(c.data))))

			spaced := strings.NewReplacer(",", " ,\n", ":", "\t: ").Replace(`{"type":"t","data":` + c.data + `}`)
			e, err := pattern.ParseEvent([]byte(spaced))
			require.NoError(t, err)
			require.Equal(t, c.want, p.Match(e), "as a whole event: %s", spaced)
		})
	}
}

// manyFields gives "k1":"v1" to "kn":"vn".
func manyFields(n int) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"k%d":"v%d"`, i+1, i+1)
	}
	return strings.Join(fields, ",")
}

func TestMatchDataThatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, data string
		want          bool
	}{
		{`{"data":[5]}`, `5`, true},
		{`{"data":["x"]}`, ` "x" `, true},
		{`{"data":[null]}`, `null`, true},
		{`{"data":[5]}`, `[4,5]`, true},
		{`{"data":{"a":[5]}}`, `[{"a":4},{"a":5}]`, true},
		{`{"data":{"a":[5]}}`, `5`, false},
		{`{"data.a":[5]}`, `{"a":5}`, true},
		{`{"data":[{"prefix":""}]}`, `{"a":5}`, false},
		// What is no JSON counts as absent.
		{`{"data":[5]}`, `5 5`, false},
		{`{"data":{"a":[5]}}`, `{"a":5`, false},
		{`{"type":["order.paid"]}`, `{"a":5`, true},
	} {
		got := compile(t, c.pattern).Match(pattern.NewEvent(envelope, []byte(c.data)))
		require.Equal(t, c.want, got, "%s %s", c.pattern, c.data)
	}
}

func TestMatchNumbersByValue(t *testing.T) {
	t.Parallel()
	million := strings.Repeat("9", 1<<20)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"300", "300.0", true},
		{"300", "3e2", true},
		{"300", "3E+2", true},
		{"300", "0.3e3", true},
		{"300", "30000e-2", true},
		{"300", "300.000000000000000000000000000001", false},
		{"0", "-0", true},
		{"0", "0.000e99999999999999999999", true},
		{"0", "1e-400", false},
		{"1", "-1", false},
		{"1.5", "1.50", true},
		{"1.5", "15e-1", true},
		{"0.1", "1e-1", true},
		{"0.1", "0.1000000000000000055511151231257827", false},
		{"9007199254740993", "9007199254740992", false},
		{"9007199254740993", "9007199254740993.0", true},
		{"123456789012345678901234567890", "123456789012345678901234567891", false},
		{"100000000000000000000000000000", "1e29", true},
		{"10000000000000000000", "1e19", true},
		{"100000000000000000000", "1e20", true},
		{"1e400", "10e399", true},
		{"1e400", "1e401", false},
		{"1e400", "-1e400", false},
		{"1e1000000000", "0.1e1000000001", true},
		{"1e1000000000", "1e1000000001", false},
		{"1e-1000000000", "10e-1000000001", true},
		{"10e99999999999999999", "1e100000000000000000", true},
		{"0.1e100000000000000000", "1e99999999999999999", true},
		{"10e9999999999999999999999", "1e10000000000000000000000", true},
		{"0.01e10000000000000000000000", "1e9999999999999999999998", true},
		{"0.1e-9999999999999999999999", "1e-10000000000000000000000", true},
		{"1e10000000000000000000000", "1e-10000000000000000000000", false},
		{"1e0000000000000000000000002", "100", true},
		{"10e" + million, "1e1" + strings.Repeat("0", 1<<20), true},
		{million, million + ".0", true},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			raw := `{"data":[` + pair[0] + `]}`
			if len(raw) > pattern.MaxBytes {
				continue
			}
			got := compile(t, raw).Match(pattern.NewEvent(envelope, []byte(pair[1])))
			require.Equal(t, c.want, got, "%.60s and %.60s", pair[0], pair[1])
		}
	}
}

func TestEventIsParsedOnceAndOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	data := []byte(`{"a":1}`)
	e := pattern.NewEvent(envelope, data)
	require.False(t, compile(t, `{"data":{"a":[1]},"type":["order.refunded"]}`).Match(e), "type settles it, although it stands last")

	// Not parsed so far: the bytes of now count.
	copy(data, `{"a":2}`)
	require.True(t, compile(t, `{"data":{"a":[2]}}`).Match(e))

	// Parsed now: later bytes do not.
	copy(data, `{"a":3}`)
	require.True(t, compile(t, `{"data":{"a":[2]}}`).Match(e))
}

func TestParseEvent(t *testing.T) {
	t.Parallel()
	e, err := pattern.ParseEvent([]byte(`{"id":"1","type":"old","type":"a\u0062","source":"s","subject":null,"time":"t",
		"tenant":"n","idempotency_key":5,"data":{"x":1}}`))
	require.NoError(t, err)
	require.True(t, compile(t, `{"id":["1"],"type":["ab"],"source":["s"],"time":["t"],"tenant":["n"],"data":{"x":[1]}}`).Match(e))
	require.False(t, compile(t, `{"subject":[null,"",{"prefix":""}]}`).Match(e))

	e, err = pattern.ParseEvent([]byte(`{}`))
	require.NoError(t, err)
	require.False(t, compile(t, `{"data":[null]}`).Match(e))
	e, err = pattern.ParseEvent([]byte(`{"data":null}`))
	require.NoError(t, err)
	require.True(t, compile(t, `{"data":[null]}`).Match(e))
}

func TestParseEventRefuses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]pattern.Problems{
		``:     {{Detail: "is not JSON: it ends where a value should stand"}},
		`{"a"`: {{Detail: "is not JSON: it ends where ':' should stand"}},
		`[]`:   {{Detail: "must be a JSON object"}},
		`{"type":5,"data":1,"id":{"a":1},"subject":null}`: {
			{Pointer: "/id", Detail: "must be a string"},
			{Pointer: "/type", Detail: "must be a string"},
		},
	} {
		_, err := pattern.ParseEvent([]byte(raw))
		require.Equal(t, want, err, raw)
	}
}

func TestMatchDeepArrays(t *testing.T) {
	t.Parallel()
	p := compile(t, `{"data":[1]}`)
	nest := func(depth int) []byte {
		return []byte(strings.Repeat("[", depth) + "1" + strings.Repeat("]", depth))
	}
	require.True(t, p.Match(pattern.NewEvent(envelope, nest(10_000))))
	require.False(t, p.Match(pattern.NewEvent(envelope, nest(10_001))), "deeper than encoding/json reads")
	require.False(t, p.Match(pattern.NewEvent(envelope, []byte(strings.Repeat(`{"a":[`, 1<<20)))))
}

// TestExtensionsOfCloudEventsAreMatchedLikeData goes by the pattern and by the index,
// with an event as it is stored and as it is written.
func TestExtensionsOfCloudEventsAreMatchedLikeData(t *testing.T) {
	t.Parallel()
	env := pattern.Envelope{Type: "a", ContentType: "text/plain", Extensions: []byte(`{"region":"eu","n":-3,"b":true}`)}
	written := `{"type":"a","datacontenttype":"text/plain","extensions":{"region":"eu","n":-3,"b":true},"data":1}`
	for raw, want := range map[string]bool{
		`{"extensions":{"region":["eu"]}}`:                                     true,
		`{"extensions":{"region":["us"]}}`:                                     false,
		`{"extensions.n":[{"numeric":["<",0]}],"data":[1]}`:                    true,
		`{"extensions":{"b":[true],"gone":[{"exists":false}]}}`:                true,
		`{"extensions":{"gone":[{"exists":true}]}}`:                            false,
		`{"data":{"region":["eu"]}}`:                                           false,
		`{"datacontenttype":[{"prefix":"text/"}]}`:                             true,
		`{"dataschema":[{"exists":false}]}`:                                    true,
		`{"$or":[{"extensions":{"region":["us"]}},{"extensions":{"n":[-3]}}]}`: true,
		`{"type":["b"],"extensions":{"region":["eu"]}}`:                        false,
	} {
		p := compile(t, raw)
		parsed, err := pattern.ParseEvent([]byte(written))
		require.NoError(t, err)
		require.Equal(t, want, p.Match(parsed), raw)
		require.Equal(t, want, p.Match(pattern.NewEvent(env, []byte(`1`))), raw)
		require.Equal(t, want, len(pattern.NewSet([]*pattern.Pattern{p}).Match(pattern.NewEvent(env, []byte(`1`)))) == 1, raw)
		require.Equal(t, want, p.Explain(pattern.NewEvent(env, []byte(`1`))).Matched, raw)
	}
	require.False(t, compile(t, `{"extensions":{"region":["eu"]}}`).Match(pattern.NewEvent(pattern.Envelope{Type: "a"}, nil)))
	require.True(t, compile(t, `{"extensions":{"region":[{"exists":false}]}}`).Match(pattern.NewEvent(pattern.Envelope{Type: "a"}, nil)))
	why := compile(t, `{"extensions":{"region":["us"]}}`).Explain(pattern.NewEvent(env, nil))
	require.Equal(t, "/extensions/region", why.Fields[0].At)
	require.Equal(t, `"eu"`, why.Fields[0].Value)
}
