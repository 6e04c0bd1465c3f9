package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pattern"
)

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, pattern, pointer, detail string }{
		{"nothing", ``, "", "is not JSON"},
		{"not JSON", `{"type":["a"],}`, "", `is not JSON: it needs a string in quotes at byte 15, not '}'`},
		{"more behind it", `{"type":["a"]} {}`, "", "is not JSON"},
		{"not UTF-8", "{\"type\":[\"\xff\"]}", "", "is not valid UTF-8"},
		{"a list", `["a"]`, "", "must be a JSON object"},
		{"a string", `"a"`, "", "must be a JSON object"},
		{"null", `null`, "", "must be a JSON object"},
		{"empty", `{}`, "", `to match every event, write {"type": [{"prefix": ""}]}`},

		{"empty object", `{"data":{"a":{}}}`, "/data/a", "is empty; name a field"},
		{"empty list", `{"data":{"a":[]}}`, "/data/a", "is empty and would match nothing"},
		{"leaf is a string", `{"type":"a"}`, "/type", "must be a list"},
		{"leaf is a number", `{"data":{"a":1}}`, "/data/a", "must be a list"},
		{"leaf is null", `{"data":{"a":null}}`, "/data/a", "must be a list"},
		{"leaf is false", `{"data":{"a":false}}`, "/data/a", "must be a list"},
		{"list in a list", `{"data":{"a":["x",["y"]]}}`, "/data/a/1", "must not be a list"},
		{"empty object in a list", `{"data":{"a":[{}]}}`, "/data/a/0", "is empty; write"},
		{"operator outside a list", `{"data":{"a":{"prefix":"x"}}}`, "/data/a/prefix", "must stand inside a list"},
		{"operator to come outside a list", `{"data":{"a":{"exists":true}}}`, "/data/a/exists", "must stand inside a list"},

		{"field of EventBridge", `{"detail-type":["a"]}`, "/detail-type", "the name here is type"},
		{"data of EventBridge", `{"detail":{"a":["b"]}}`, "/detail", "the name here is data"},
		{"account of EventBridge", `{"account":["1"]}`, "/account", "the name here is tenant"},
		{"unknown field", `{"amount":[1]}`, "/amount", "use id, type, source, subject, time, tenant, or data"},
		{"unknown dotted field", `{"payload.a":[1]}`, "/payload.a", "is not a field of an event"},
		{"names are exact", `{"Type":["a"]}`, "/Type", "is not a field of an event"},
		{"below a string", `{"type":{"prefix":["order."]}}`, "/type", "is a string in every event"},
		{"below a string, dotted", `{"type.a":["b"]}`, "/type.a", "is a string in every event"},

		{"suffix", `{"type":[{"suffix":"x"}]}`, "/type/0/suffix", "operator suffix is not supported yet"},
		{"equals-ignore-case", `{"type":[{"equals-ignore-case":"x"}]}`, "/type/0/equals-ignore-case", "is not supported yet"},
		{"wildcard", `{"type":["a",{"wildcard":"a*b"}]}`, "/type/1/wildcard", "is not supported yet"},
		{"anything-but", `{"type":[{"anything-but":["x"]}]}`, "/type/0/anything-but", "is not supported yet"},
		{"anything-but prefix", `{"type":[{"anything-but":{"prefix":"x"}}]}`, "/type/0/anything-but", "is not supported yet"},
		{"numeric", `{"data":{"n":[{"numeric":[">",0]}]}}`, "/data/n/0/numeric", "is not supported yet"},
		{"cidr", `{"data":{"ip":[{"cidr":"10.0.0.0/8"}]}}`, "/data/ip/0/cidr", "is not supported yet"},
		{"exists", `{"data":{"a":[{"exists":false}]}}`, "/data/a/0/exists", "is not supported yet"},
		{"$or at the top", `{"$or":[{"type":["a"]},{"source":["b"]}]}`, "/$or", "is not supported yet"},
		{"$or below", `{"data":{"$or":[{"a":[1]},{"b":[2]}]}}`, "/data/$or", "is not supported yet"},
		{"$or of values", `{"data":{"$or":["a"]}}`, "/data/$or", "is not supported yet"},
		{"$or, dotted", `{"data.$or":[{"a":[1]},{"b":[2]}]}`, "/data.$or", "is not supported yet"},
		{"$or in a list", `{"type":[{"$or":["a"]}]}`, "/type/0/$or", "is not supported yet"},
		{"prefix ignoring case", `{"type":[{"prefix":{"equals-ignore-case":"x"}}]}`, "/type/0/prefix/equals-ignore-case", "is not supported yet"},

		{"unknown operator", `{"type":[{"regex":"x"}]}`, "/type/0/regex", "is not an operator"},
		{"upper case", `{"type":[{"Prefix":"x"}]}`, "/type/0/Prefix", "write prefix in lower case"},
		{"upper case of one to come", `{"type":[{"Suffix":"x"}]}`, "/type/0/Suffix", "operator suffix is not supported yet"},
		{"prefix of a list", `{"type":[{"prefix":["a","b"]}]}`, "/type/0/prefix", "must be a string"},
		{"prefix of a number", `{"type":[{"prefix":5}]}`, "/type/0/prefix", "must be a string"},
		{"prefix of null", `{"type":[{"prefix":null}]}`, "/type/0/prefix", "must be a string"},
		{"prefix of an object", `{"type":[{"prefix":{"a":"b"}}]}`, "/type/0/prefix", "must be a string"},
		{"prefix of an empty object", `{"type":[{"prefix":{}}]}`, "/type/0/prefix", "must be a string"},
		{"two operators", `{"type":[{"prefix":"a","prefix":"b"}]}`, "/type/0", "must have one operator"},

		{"overridden list", `{"type":[{"prefix":5}],"type":["a"]}`, "/type/0/prefix", "must be a string"},
		{"pointer escapes", `{"data":{"a/b~c":{"d.e":[]}}}`, "/data/a~1b~0c/d.e", "is empty"},

		{"too large", `{"type":["` + strings.Repeat("a", pattern.MaxBytes) + `"]}`, "", "is larger than 65536 bytes"},
		{"too deep", nested(pattern.MaxDepth + 1), "/data" + strings.Repeat("/a", pattern.MaxDepth), "deeper than 32 levels"},
		{"too deep, dotted", `{"data` + strings.Repeat(".a", pattern.MaxDepth) + `":[1]}`, "/data" + strings.Repeat(".a", pattern.MaxDepth), "deeper than 32 levels"},
		{"far too deep", nested(10_500), "", "deeper than 32 levels"},
		{"too many values", `{"type":["a"],"data":{"n":[` + numbers(pattern.MaxValues) + `],"m":[1]}}`, "/data/n", "above 2000 values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := pattern.Compile([]byte(c.pattern))
			require.Nil(t, p)
			var problems pattern.Problems
			require.ErrorAs(t, err, &problems)
			require.Len(t, problems, 1, "%v", err)
			require.Equal(t, c.pointer, problems[0].Pointer)
			require.Contains(t, problems[0].Detail, c.detail)
		})
	}
}

// nested gives a pattern of so many levels of fields.
func nested(depth int) string {
	return `{"data":` + strings.Repeat(`{"a":`, depth-1) + `[1]` + strings.Repeat(`}`, depth)
}

// numbers gives 1 to n, separated by commas.
func numbers(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i + 1)
	}
	return strings.Join(list, ",")
}

func TestCompileAtTheLimits(t *testing.T) {
	t.Parallel()
	deep := `{"data":` + strings.Repeat(`{"a":`, pattern.MaxDepth-1) + `1` + strings.Repeat(`}`, pattern.MaxDepth)
	e, err := pattern.ParseEvent([]byte(deep))
	require.NoError(t, err)
	require.True(t, compile(t, nested(pattern.MaxDepth)).Match(e))
	require.True(t, compile(t, `{"data`+strings.Repeat(".a", pattern.MaxDepth-1)+`":[1]}`).Match(e))

	many := compile(t, `{"data":[`+numbers(pattern.MaxValues)+`]}`)
	require.True(t, many.Match(pattern.NewEvent(pattern.Envelope{}, []byte("2000"))))
	require.False(t, many.Match(pattern.NewEvent(pattern.Envelope{}, []byte("2001"))))

	full := `{"type":["a"]}`
	compile(t, full+strings.Repeat(" ", pattern.MaxBytes-len(full)))
}

func TestCompileReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := pattern.Compile([]byte(`{
		"detail": {"a": "x", "b": []},
		"type": [{"suffix": "x"}, [1], "ok", {"regex": "."}, {"prefix": 1}],
		"source": {"a": []},
		"data": {
			"a": {},
			"$or": [{"b": [1]}, {"c": [2]}],
			"d": [{}, {"numeric": [">", 1], "exists": true}]
		},
		"subject": 5
	}`))
	var problems pattern.Problems
	require.ErrorAs(t, err, &problems)
	pointers := make([]string, len(problems))
	for i, p := range problems {
		require.NotEmpty(t, p.Detail)
		pointers[i] = p.Pointer
	}
	require.Equal(t, []string{
		"/detail", "/detail/a", "/detail/b",
		"/type/0/suffix", "/type/1", "/type/3/regex", "/type/4/prefix",
		"/source",
		"/data/a", "/data/$or", "/data/d/0", "/data/d/1", "/data/d/1/numeric", "/data/d/1/exists",
		"/subject",
	}, pointers)
	require.True(t, strings.HasPrefix(err.Error(), "/detail: is not a field of an event; the name here is data; /detail/a: must be"))
}

// A hostile pattern cannot make the answer much larger than itself.
func TestCompileBoundsTheReport(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 20_000)
	_, err := pattern.Compile([]byte(`{"data":{"` + long + `":{"a":[` + strings.Repeat(`{},`, 1000) + `{}]}}}`))
	var problems pattern.Problems
	require.ErrorAs(t, err, &problems)
	require.Less(t, len(err.Error()), 2*pattern.MaxBytes)
	require.Len(t, problems, 5)
	require.Equal(t, pattern.Problem{Detail: "has 997 more mistakes; mend these first"}, problems[4])
}
