package pattern_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signalstack/signalstack/internal/pattern"
)

func TestMatchEqualsTheNaiveEvaluator(t *testing.T) {
	t.Parallel()
	matched, missed, dear := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		event := `{"type":` + drawOne(t, `"a"`, `"ab"`, `"b"`) + `,"data":` + drawValue(t, 3) + `}`
		var tree any
		require.NoError(t, decodeNumbers([]byte(event), &tree))
		parsed, err := pattern.ParseEvent([]byte(event))
		require.NoError(t, err)

		for range 20 {
			asked := drawPattern(t, 3)
			if rapid.Bool().Draw(t, "mirror") {
				asked = drawMirror(t, tree.(map[string]any)["data"])
			}
			raw := `{"type":[{"prefix":"a"}],"data":` + asked + `}`
			p, err := pattern.Compile([]byte(raw))
			if tooDear(err) {
				dear++
				continue
			}
			require.NoError(t, err, raw)
			want := readNaive(t, raw).matches(tree)
			require.Equal(t, want, p.Match(parsed), "%s on %s", raw, event)
			require.Equal(t, want, p.Explain(parsed).Matched, "%s on %s", raw, event)
			if want {
				matched++
			} else {
				missed++
			}
		}
	})
	t.Logf("%d matched, %d missed, %d were too much", matched, missed, dear)
	require.Less(t, dear*10, matched+missed)
	// Generators that hardly ever match, or always do, would prove nothing.
	require.Greater(t, matched*4, missed, "%d matched, %d missed", matched, missed)
	require.Greater(t, missed*4, matched, "%d matched, %d missed", matched, missed)
}

// tooDear tells whether a drawn pattern has more combinations than are allowed.
func tooDear(err error) bool { return err != nil && strings.Contains(err.Error(), "asks for too much") }

var scalars = []string{
	`null`, `true`, `false`, `""`, `"a"`, `"ab"`, `"aB"`, `"abab"`, `"\u212a"`, `"10.1.1.1"`, `"2001:db8::1"`, `"::ffff:10.1.1.1"`, `"\u0061b"`, `"1"`, `"null"`, `"\u0000"`, `"😀"`, `"\ud83d\ude00"`,
	`0`, `-0.0`, `1`, `1.0`, `10e-1`, `-1`, `9007199254740992`, `9007199254740993`, `9007199254740993.0`, `1e400`, `10E+399`, `0.1`, `1e-1`,
}

// operators are drawn as often as scalars. Some have the values of scalars for
// operands, and some come close.
var operators = []string{
	`{"prefix":""}`, `{"prefix":"a"}`, `{"prefix":"ab"}`, `{"prefix":{"equals-ignore-case":"A"}}`, `{"prefix":{"equals-ignore-case":"aB"}}`,
	`{"suffix":""}`, `{"suffix":"b"}`, `{"suffix":"1.1"}`, `{"suffix":{"equals-ignore-case":"B"}}`, `{"suffix":{"equals-ignore-case":"K"}}`,
	`{"equals-ignore-case":"AB"}`, `{"equals-ignore-case":""}`, `{"equals-ignore-case":"k"}`,
	`{"wildcard":"a*"}`, `{"wildcard":"*b"}`, `{"wildcard":"*"}`, `{"wildcard":"*.*.*"}`, `{"wildcard":"a*b*b"}`, `{"wildcard":"ab"}`, `{"wildcard":"\\**"}`,
	`{"anything-but":"a"}`, `{"anything-but":["a","ab",""]}`, `{"anything-but":1}`, `{"anything-but":[0,1,0.1]}`,
	`{"anything-but":{"prefix":"a"}}`, `{"anything-but":{"suffix":["b","1"]}}`, `{"anything-but":{"wildcard":"a*"}}`, `{"anything-but":{"equals-ignore-case":["AB","K"]}}`,
	`{"numeric":["=",1]}`, `{"numeric":[">",0]}`, `{"numeric":["<",0.1]}`, `{"numeric":[">=",-1,"<",1]}`, `{"numeric":["<=",9007199254740992]}`,
	`{"numeric":[">",9007199254740992,"<=",1e400]}`, `{"numeric":[">",1e399]}`,
	`{"cidr":"10.0.0.0/8"}`, `{"cidr":"10.1.1.0/31"}`, `{"cidr":"0.0.0.0/0"}`, `{"cidr":"2001:db8::/32"}`, `{"cidr":"::/0"}`, `{"cidr":"2001:db8:0:0:1::/80"}`,
	`{"exists":true}`, `{"exists":false}`, `{"exists":false}`,
}

func drawOne(t *rapid.T, of ...string) string { return rapid.SampledFrom(of).Draw(t, "one") }

func drawKey(t *rapid.T) string { return drawOne(t, `"a"`, `"a"`, `"b"`, `"\u0062"`, `"c"`) }

// drawValue draws a JSON text, with keys that stand twice now and then.
func drawValue(t *rapid.T, depth int) string {
	what := rapid.IntRange(0, 9).Draw(t, "what")
	if depth == 0 {
		what = 0
	}
	var parts []string
	switch {
	case what < 2:
		return drawOne(t, scalars...)
	case what < 5:
		for range rapid.IntRange(0, 2).Draw(t, "elements") {
			parts = append(parts, drawValue(t, depth-1))
		}
		return `[` + strings.Join(parts, ", ") + `]`
	default:
		for range rapid.IntRange(1, 3).Draw(t, "fields") {
			parts = append(parts, drawKey(t)+": "+drawValue(t, depth-1))
		}
		return `{` + strings.Join(parts, ",") + `}`
	}
}

// drawPattern draws what a pattern asks of one value: a list or an object.
func drawPattern(t *rapid.T, depth int) string {
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
		return drawList(t)
	}
	return drawFields(t, depth)
}

func drawList(t *rapid.T) string {
	var parts []string
	for range rapid.IntRange(1, 4).Draw(t, "values") {
		of := scalars
		if rapid.Bool().Draw(t, "operator") {
			of = operators
		}
		parts = append(parts, drawOne(t, of...))
	}
	return `[` + strings.Join(parts, ",") + `]`
}

// drawFields draws an object, with dotted keys, keys that stand twice and $or.
func drawFields(t *rapid.T, depth int) string {
	var parts []string
	for range rapid.IntRange(1, 2).Draw(t, "fields") {
		key := drawKey(t)
		switch kind := rapid.IntRange(0, 6).Draw(t, "kind of key"); {
		case kind == 0:
			key = drawOne(t, `"a.a"`, `"a.b"`, `"b.a"`)
		case kind == 1 && depth > 0:
			var branches []string
			for range rapid.IntRange(2, 3).Draw(t, "branches") {
				branches = append(branches, drawFields(t, depth-1))
			}
			parts = append(parts, drawOne(t, `"$or"`, `"$or"`, `"a.$or"`)+`:[`+strings.Join(branches, ",")+`]`)
			continue
		}
		parts = append(parts, key+":"+drawPattern(t, max(depth-1, 0)))
	}
	return `{` + strings.Join(parts, ",") + `}`
}

// drawMirror draws what a pattern asks of one value so that it has a fair chance:
// fields and values that are there, though not always in one element of an array.
func drawMirror(t *rapid.T, v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if len(v) == 1 || rapid.IntRange(0, 2).Draw(t, "keep") > 0 {
				parts = append(parts, `"`+key+`":`+drawMirror(t, v[key]))
			}
		}
		if len(parts) > 0 {
			return `{` + strings.Join(parts, ",") + `}`
		}
	case []any:
		var parts []string
		for _, element := range v {
			part := drawMirror(t, element)
			if part[0] != '{' || rapid.Bool().Draw(t, "one element") {
				return part
			}
			parts = append(parts, part[1:len(part)-1])
		}
		if len(parts) > 0 {
			return `{` + strings.Join(parts, ",") + `}`
		}
	default:
		text, err := json.Marshal(v)
		require.NoError(t, err)
		return `[` + drawOne(t, append(operators, scalars...)...) + `,` + string(text) + `]`
	}
	return drawPattern(t, 1)
}
