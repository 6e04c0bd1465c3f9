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
		{"another operator outside a list", `{"data":{"a":{"exists":true}}}`, "/data/a/exists", "must stand inside a list"},

		{"field of EventBridge", `{"detail-type":["a"]}`, "/detail-type", "the name here is type"},
		{"data of EventBridge", `{"detail":{"a":["b"]}}`, "/detail", "the name here is data"},
		{"account of EventBridge", `{"account":["1"]}`, "/account", "the name here is tenant"},
		{"unknown field", `{"amount":[1]}`, "/amount", "use id, type, source, subject, time, tenant, datacontenttype, dataschema, extensions for those of CloudEvents, or data"},
		{"unknown dotted field", `{"payload.a":[1]}`, "/payload.a", "is not a field of an event"},
		{"names are exact", `{"Type":["a"]}`, "/Type", "is not a field of an event"},
		{"below a string", `{"type":{"prefix":["order."]}}`, "/type", "is a string in every event"},
		{"below a string, dotted", `{"type.a":["b"]}`, "/type.a", "is a string in every event"},

		{"$or of one branch", `{"$or":[{"type":["a"]}]}`, "/$or", "must have two branches or more"},
		{"$or of none", `{"data":{"$or":[]}}`, "/data/$or", "must have two branches or more"},
		{"$or of a value", `{"data":{"$or":[{"a":[1]},"b"]}}`, "/data/$or/1", "must be an object of fields"},
		{"$or of a list", `{"data":{"$or":[{"a":[1]},[{"b":[1]}]]}}`, "/data/$or/1", "must be an object of fields"},
		{"$or of an empty object", `{"$or":[{"type":["a"]},{}]}`, "/$or/1", "is empty; name a field"},
		{"$or that is a string", `{"data":{"$or":"a"}}`, "/data/$or", "must be a list of two objects"},
		{"$or as a field at the top", `{"$or":{"a":["b"]}}`, "/$or", "is not a field of an event; for alternatives"},
		{"$or of operators at the top", `{"$or":[{"prefix":"a"},{"prefix":"b"}]}`, "/$or", "is not a field of an event; for alternatives"},
		{"$or below a string", `{"type.$or":[{"a":["b"]},{"c":["d"]}]}`, "/type.$or", "is a string in every event"},
		{"$or in a list", `{"type":[{"$or":["a"]}]}`, "/type/0/$or", "it stands among the fields of an object"},
		{"unknown field in $or", `{"$or":[{"type":["a"]},{"detail":["b"]}]}`, "/$or/1/detail", "the name here is data"},
		{"operator's name below $or", `{"data":{"$or":[{"a":{"numeric":[1]}},{"b":[1]}]}}`, "/data/$or/0/a/numeric", "is named like an operator"},
		{"operator's name, dotted", `{"data":{"$or":[{"a.exists":[1]},{"b":[1]}]}}`, "/data/$or/0/a.exists", "is named like an operator"},
		{"operator's name in an inner $or", `{"$or":[{"type":["a"]},{"data":{"$or":[{"a":[1]},{"b.cidr":[1]}]}}]}`, "/$or/1/data/$or/1/b.cidr", "is named like an operator"},
		{"$or too deep", strings.Repeat(`{"$or":[{"type":["a"]},`, pattern.MaxDepth-1) + `{"data":{"a":["b"]}}` + strings.Repeat(`]}`, pattern.MaxDepth-1), strings.Repeat("/$or/1", pattern.MaxDepth-1) + "/data/a", "deeper than 32 levels"},
		{"$or of too much", `{"data":{` + manyOrs(8) + `}}`, "", "make 256 combinations or more, which may have 1000 fields together"},
		{"$or of far too much", `{"data":{` + manyOrs(1000) + `}}`, "", "make 1000 combinations or more"},

		{"unknown operator", `{"type":[{"regex":"x"}]}`, "/type/0/regex", "is not an operator"},
		{"upper case", `{"type":[{"Prefix":"x"}]}`, "/type/0/Prefix", "write prefix in lower case"},
		{"upper case of another", `{"type":[{"Anything-But":"x"}]}`, "/type/0/Anything-But", "write anything-but in lower case"},
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

// manyOrs gives n fields that are named $or, of two branches each.
func manyOrs(n int) string {
	ors := make([]string, n)
	for i := range ors {
		ors[i] = fmt.Sprintf(`"$or":[{"a%d":[1]},{"b%d":[1]}]`, i, i)
	}
	return strings.Join(ors, ",")
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

	// 2^8 combinations of 8 fields are above the limit, 2^7 of 7 are not.
	e, err = pattern.ParseEvent([]byte(`{"data":{"a0":1,"b1":1,"a2":1,"b3":1,"a4":1,"b5":1,"a6":1}}`))
	require.NoError(t, err)
	require.True(t, compile(t, `{"data":{`+manyOrs(7)+`}}`).Match(e))

	stars := compile(t, `{"data":[{"wildcard":"`+strings.Repeat("*a", pattern.MaxStars)+`"}]}`)
	require.True(t, stars.Match(pattern.NewEvent(pattern.Envelope{}, []byte(`"`+strings.Repeat("ba", 1000)+`"`))))
	require.False(t, stars.Match(pattern.NewEvent(pattern.Envelope{}, []byte(`"`+strings.Repeat("ba", pattern.MaxStars-1)+`"`))))

	full := `{"type":["a"]}`
	compile(t, full+strings.Repeat(" ", pattern.MaxBytes-len(full)))
}

func TestCompileReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := pattern.Compile([]byte(`{
		"detail": {"a": "x", "b": []},
		"type": [{"suffix": 1}, [1], "ok", {"regex": "."}, {"prefix": 1}],
		"source": {"a": []},
		"data": {
			"a": {},
			"$or": [{"b": 1}, {"c": [{"anything-but": [null, "x", 1]}]}],
			"d": [{}, {"numeric": [">", "1"], "exists": 1}]
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
		"/data/a", "/data/$or/0/b", "/data/$or/1/c/0/anything-but/0", "/data/$or/1/c/0/anything-but/2",
		"/data/d/0", "/data/d/1", "/data/d/1/numeric/1", "/data/d/1/exists",
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
