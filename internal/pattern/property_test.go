package pattern_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signalstack/signalstack/internal/pattern"
)

// The naive evaluator is written from the rules over the trees of encoding/json
// and shares nothing with the package. "Any element, and for everything below an
// array the same one" is taken literally: choose one element in each array of the
// event; the pattern matches when some choice satisfies every path of it.
type naivePattern map[string][]any // by path, its steps joined by '\x00'

func readNaive(t require.TestingT, raw string) naivePattern {
	p := naivePattern{}
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	p.object(t, dec, "")
	return p
}

// object reads tokens, since a map would lose the keys that stand twice.
func (p naivePattern) object(t require.TestingT, dec *json.Decoder, path string) {
	token, err := dec.Token()
	require.NoError(t, err)
	if token == json.Delim('[') {
		var list []any
		for dec.More() {
			var v any
			require.NoError(t, dec.Decode(&v))
			list = append(list, v)
		}
		p[path] = list
	} else {
		for dec.More() {
			key, err := dec.Token()
			require.NoError(t, err)
			p.object(t, dec, path+"\x00"+strings.ReplaceAll(key.(string), ".", "\x00"))
		}
	}
	_, err = dec.Token()
	require.NoError(t, err)
}

func (p naivePattern) matches(event any) bool {
	return slices.ContainsFunc(choices(event), func(e any) bool {
		for path, list := range p {
			v := e
			for step := range strings.SplitSeq(path[1:], "\x00") {
				object, _ := v.(map[string]any)
				field, ok := object[step]
				if !ok {
					return false
				}
				v = field
			}
			if !slices.ContainsFunc(list, func(want any) bool { return accepts(want, v) }) {
				return false
			}
		}
		return true
	})
}

// absent is the choice from an empty array.
type absent struct{}

// choices gives the value with every array replaced by one of its elements, in
// every way.
func choices(v any) []any {
	switch v := v.(type) {
	case []any:
		all := []any{}
		for _, element := range v {
			all = append(all, choices(element)...)
		}
		if len(all) == 0 {
			return []any{absent{}}
		}
		return all
	case map[string]any:
		all := []any{map[string]any{}}
		for key, field := range v {
			var next []any
			for _, have := range all {
				for _, choice := range choices(field) {
					with := map[string]any{}
					for k, f := range have.(map[string]any) {
						with[k] = f
					}
					if choice != any(absent{}) {
						with[key] = choice
					}
					next = append(next, with)
				}
			}
			all = next
		}
		return all
	default:
		return []any{v}
	}
}

func accepts(want, have any) bool {
	switch want := want.(type) {
	case map[string]any:
		text, ok := have.(string)
		return ok && strings.HasPrefix(text, want["prefix"].(string))
	case json.Number:
		number, ok := have.(json.Number)
		return ok && rational(want).Cmp(rational(number)) == 0
	default:
		return want == have
	}
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		panic(fmt.Sprintf("%s is no number", n))
	}
	return r
}

func TestMatchEqualsTheNaiveEvaluator(t *testing.T) {
	t.Parallel()
	matched, missed := 0, 0
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
			require.NoError(t, err, raw)
			want := readNaive(t, raw).matches(tree)
			require.Equal(t, want, p.Match(parsed), "%s on %s", raw, event)
			if want {
				matched++
			} else {
				missed++
			}
		}
	})
	t.Logf("%d matched, %d missed", matched, missed)
	// Generators that hardly ever match, or always do, would prove nothing.
	require.Greater(t, matched*4, missed, "%d matched, %d missed", matched, missed)
	require.Greater(t, missed*4, matched, "%d matched, %d missed", matched, missed)
}

var scalars = []string{
	`null`, `true`, `false`, `""`, `"a"`, `"ab"`, `"\u0061b"`, `"1"`, `"null"`, `"\u0000"`, `"😀"`, `"\ud83d\ude00"`,
	`0`, `-0.0`, `1`, `1.0`, `10e-1`, `-1`, `9007199254740992`, `9007199254740993`, `9007199254740993.0`, `1e400`, `10E+399`, `0.1`, `1e-1`,
}

func drawOne(t *rapid.T, of ...string) string { return rapid.SampledFrom(of).Draw(t, "one") }

func drawKey(t *rapid.T) string { return drawOne(t, `"a"`, `"a"`, `"b"`, `"\u0062"`, `"prefix"`) }

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

// drawPattern draws what a pattern asks of one value: a list or an object, with
// dotted keys and keys that stand twice.
func drawPattern(t *rapid.T, depth int) string {
	var parts []string
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
		for range rapid.IntRange(1, 10).Draw(t, "values") {
			parts = append(parts, drawOne(t, append(scalars, `{"prefix":""}`, `{"prefix":"a"}`, `{"prefix":"ab"}`)...))
		}
		return `[` + strings.Join(parts, ",") + `]`
	}
	for range rapid.IntRange(1, 2).Draw(t, "fields") {
		key := drawKey(t)
		if rapid.IntRange(0, 4).Draw(t, "dotted") == 0 {
			key = drawOne(t, `"a.a"`, `"a.b"`, `"b.a"`)
		}
		parts = append(parts, key+":"+drawPattern(t, depth-1))
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
		return `[` + drawOne(t, scalars...) + `,` + string(text) + `]`
	}
	return drawPattern(t, 1)
}
