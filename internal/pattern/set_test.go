package pattern_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signalstack/signalstack/internal/pattern"
)

func compileAll(t testing.TB, raws []string) []*pattern.Pattern {
	t.Helper()
	all := make([]*pattern.Pattern, len(raws))
	for i, raw := range raws {
		all[i] = compile(t, raw)
	}
	return all
}

// matchAll is what a set must answer.
func matchAll(patterns []*pattern.Pattern, e *pattern.Event) []int {
	var hits []int
	for i, p := range patterns {
		if p.Match(e) {
			hits = append(hits, i)
		}
	}
	return hits
}

func TestSetOfNone(t *testing.T) {
	t.Parallel()
	require.Empty(t, pattern.NewSet(nil).Match(pattern.NewEvent(envelope, []byte(`{"a":1}`))))
}

func TestSetAnswersInTheOrderOfThePatterns(t *testing.T) {
	t.Parallel()
	set := pattern.NewSet(compileAll(t, []string{
		`{"type":["x"]}`, `{"data":{"a":[1]}}`, `{"type":["order.paid","order.paid"]}`, `{"$or":[{"type":["order.paid"]},{"source":["shop"]}]}`,
		`{"data":{"b":[{"exists":false}]}}`, `{"type":[{"prefix":"order."},{"suffix":".paid"},{"wildcard":"*"}]}`, `{"data":{"a":[1,{"anything-but":2}]}}`,
	}))
	require.Equal(t, 7, set.Len())
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, set.Match(pattern.NewEvent(envelope, []byte(`{"a":[1,1,3]}`))))
	require.Equal(t, []int{2, 3, 4, 5}, set.Match(pattern.NewEvent(envelope, []byte(`{"a":1`))))
}

// TestSetMatchesWhatItsPatternsMatch draws sets of patterns that have much in
// common, so that the index divides them more than once.
func TestSetMatchesWhatItsPatternsMatch(t *testing.T) {
	t.Parallel()
	matched, missed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var patterns []*pattern.Pattern
		var raws []string
		for range rapid.IntRange(1, 60).Draw(t, "patterns") {
			raw := drawRule(t)
			p, err := pattern.Compile([]byte(raw))
			if tooDear(err) {
				continue
			}
			require.NoError(t, err, raw)
			patterns, raws = append(patterns, p), append(raws, raw)
		}
		set := pattern.NewSet(patterns)
		for range 10 {
			event := `{"type":` + drawOne(t, types...) + `,"data":` + drawValue(t, 3) + `}`
			e, err := pattern.ParseEvent([]byte(event))
			require.NoError(t, err)
			want := matchAll(patterns, e)
			require.Equal(t, want, set.Match(e), "%s on %s", strings.Join(raws, "\n"), event)
			matched += len(want)
			missed += len(patterns) - len(want)
		}
	})
	t.Logf("%d matched, %d missed", matched, missed)
	require.Greater(t, matched*20, missed)
}

var types = []string{`"a"`, `"ab"`, `"b"`, `"ba"`, `"c"`}

// drawRule draws a pattern of few distinct fields and values.
func drawRule(t *rapid.T) string {
	data := drawFields(t, 2)
	if rapid.IntRange(0, 3).Draw(t, "several levels") > 0 {
		data = `{"a":` + drawList(t) + `,"b":` + drawList(t) + `}`
	}
	switch rapid.IntRange(0, 4).Draw(t, "about") {
	case 0:
		return `{"data":` + data + `}`
	case 1:
		return `{"type":` + drawList(t) + `}`
	case 2:
		return `{"$or":[{"type":[` + drawOne(t, types...) + `]},{"data":` + data + `}]}`
	default:
		return `{"type":[` + drawOne(t, append(types, operators...)...) + `],"data":` + data + `}`
	}
}

func TestSetIsShared(t *testing.T) {
	t.Parallel()
	set := pattern.NewSet(compileAll(t, many(500, `{"data":{"n":[%d]}}`)))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := g; n < 500; n += 4 {
				hits := set.Match(pattern.NewEvent(envelope, fmt.Appendf(nil, `{"n":%d}`, n)))
				if len(hits) != 1 || hits[0] != n {
					panic(fmt.Sprint(n, hits))
				}
			}
		})
	}
	wg.Wait()
}

// TestSetAllocatesNothingForEachRule compares the allocations of an event with
// those of the same event and a hundred times as many rules.
func TestSetAllocatesNothingForEachRule(t *testing.T) {
	data := []byte(orderData)
	allocations := func(rules []string) float64 {
		set := pattern.NewSet(compileAll(t, rules))
		return testing.AllocsPerRun(100, func() { set.Match(pattern.NewEvent(envelope, data)) })
	}
	const format = `{"type":["order.paid"],"data":{"order":{"currency":["EUR"],"total":[{"numeric":[">=",%[1]d,"<",%[1]d.5]}],"customer":{"id":[{"prefix":"cus_"},"%[1]d"]}}}}`
	require.LessOrEqual(t, allocations(many(10_000, format)), allocations(many(100, format))+1)
}

// TestSetOfManyAlternatives has rules that a careless index would put in as many
// places as their alternatives multiply to.
func TestSetOfManyAlternatives(t *testing.T) {
	t.Parallel()
	list := `"v0","v1","v2","v3","v4","v5","v6","v7","v8","v9"`
	rule := `{"data":{"a":[` + list + `],"b":[` + list + `],"c":[` + list + `],"d":[` + list + `],"e":[` + list + `,"%d"]}}`
	patterns := compileAll(t, many(2000, rule))
	set := pattern.NewSet(patterns)
	for _, data := range []string{`{"a":"v1","b":"v2","c":"v3","d":"v4","e":"77"}`, `{"a":"v1","b":"v2","c":"v3","d":"v4","e":["v5","v6"]}`, `{"a":"v1"}`} {
		e := pattern.NewEvent(envelope, []byte(data))
		require.Equal(t, matchAll(patterns, e), set.Match(e), data)
	}
}

// TestSetOfLargeArrays has events whose values lead to the same branches again and
// again.
func TestSetOfLargeArrays(t *testing.T) {
	t.Parallel()
	patterns := compileAll(t, many(1000, `{"data":{"a":["x"],"b":["x"],"c":["x"],"d":[%d]}}`))
	set := pattern.NewSet(patterns)
	xs := `[` + strings.Repeat(`"x",`, 20_000) + `"x"]`
	e := pattern.NewEvent(envelope, []byte(`{"a":`+xs+`,"b":`+xs+`,"c":`+xs+`,"d":[7,8]}`))
	require.Equal(t, []int{7, 8}, set.Match(e))
}
