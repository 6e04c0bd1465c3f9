package pattern_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pattern"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	type field = pattern.FieldExplanation
	items := `{"items":[{"sku":"a","n":1},{"sku":"b","n":2.50}],"note":"\u0041 <b>","ip":"x","o":{"k":1},"e":[]}`
	for _, c := range []struct {
		name, pattern string
		matched       bool
		fields        []field
	}{
		{"envelope", `{"type":["x",{"prefix":"order."}],"source":["till"],"subject":["a"]}`, false, []field{
			{Path: "/type", Matched: true, At: "/type", Value: `"order.paid"`, Reason: `matches {"prefix":"order."}`},
			{Path: "/source", At: "/source", Value: `"shop"`, Reason: `is not "till"`},
			{Path: "/subject", Reason: "the event has no such field"},
		}},
		{"absent", `{"subject":[{"exists":false}],"data":{"x":{"y":[{"exists":false}]},"note":[{"exists":false}],"z":[1],"e":[{"exists":true}]}}`, false, []field{
			{Path: "/subject", Matched: true, Reason: `matches {"exists":false}`},
			{Path: "/data/x/y", Matched: true, Reason: `matches {"exists":false}`},
			{Path: "/data/note", At: "/data/note", Value: `"\u0041 <b>"`, Reason: `is there, against {"exists":false}`},
			{Path: "/data/z", Reason: "the event has no such field"},
			{Path: "/data/e", Reason: "the event has no such field"},
		}},
		{"objects", `{"data":{"o":[1],"o.k.j":[1],"items":["a"]}}`, false, []field{
			{Path: "/data/o", At: "/data/o", Reason: "it is an object, and a list matches plain values"},
			{Path: "/data/o.k.j", Reason: "the event has no such field"},
			{Path: "/data/items", At: "/data/items/0", Reason: "it is an object, and a list matches plain values"},
		}},
		{"one element", `{"data":{"items":{"sku":["b"],"n":[2.5]},"note":["A <b>"]}}`, true, []field{
			{Path: "/data/items/sku", Matched: true, At: "/data/items/1/sku", Value: `"b"`, Reason: "is in the list"},
			{Path: "/data/items/n", Matched: true, At: "/data/items/1/n", Value: `2.50`, Reason: "is in the list"},
			{Path: "/data/note", Matched: true, At: "/data/note", Value: `"\u0041 <b>"`, Reason: "is in the list"},
		}},
		{"two elements", `{"data":{"items":{"sku":["b"],"n":[{"numeric":["<",2]}]}}}`, false, []field{
			{Path: "/data/items/sku", At: "/data/items/0/sku", Value: `"a"`, Reason: `is not "b"; /data/items/1/sku matches, but stands in another element than what else is asked for`},
			{Path: "/data/items/n", Matched: true, At: "/data/items/0/n", Value: `1`, Reason: `matches {"numeric":["<",2]}`},
		}},
		{"branches", `{"$or":[{"data":{"items":{"n":[3]}}},{"type":["order.paid"],"$or":[{"source":["till"]},{"source":["shop"]}]}]}`, true, []field{
			{Path: "/$or/0/data/items/n", At: "/data/items/0/n", Value: `1`, Reason: "is not 3"},
			{Path: "/$or/1/type", Matched: true, At: "/type", Value: `"order.paid"`, Reason: "is in the list"},
			{Path: "/$or/1/$or/0/source", At: "/source", Value: `"shop"`, Reason: `is not "till"`},
			{Path: "/$or/1/$or/1/source", Matched: true, At: "/source", Value: `"shop"`, Reason: "is in the list"},
		}},
		{"reasons", `{"type":[{"anything-but":"order.paid"},1,null],"data":{"note":[{"numeric":["=",1]}],"ip":[{"cidr":"10.0.0.0/8"}],
			"o":{"k":["1",{"suffix":"x"},true]},"items":{"n":["a","b","c","d"]}}}`, false, []field{
			{Path: "/type", At: "/type", Value: `"order.paid"`, Reason: `is a string, not the number 1; is not null; is excluded by {"anything-but":"order.paid"}`},
			{Path: "/data/note", At: "/data/note", Value: `"\u0041 <b>"`, Reason: `is a string, and {"numeric":["=",1]} matches numbers only`},
			{Path: "/data/ip", At: "/data/ip", Value: `"x"`, Reason: `is no IP address for {"cidr":"10.0.0.0/8"}`},
			{Path: "/data/o/k", At: "/data/o/k", Value: `1`, Reason: `is a number, not the string "1"; is not true; is a number, and {"suffix":"x"} matches strings only`},
			{Path: "/data/items/n", At: "/data/items/0/n", Value: `1`, Reason: `matches none of the 4 values of the list`},
		}},
		{"the last list counts", `{"type":["a"],"type":["order.paid"]}`, true, []field{
			{Path: "/type", Matched: true, At: "/type", Value: `"order.paid"`, Reason: "is in the list"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := pattern.NewEvent(envelope, []byte(items))
			require.Equal(t, pattern.Explanation{Matched: c.matched, Fields: c.fields}, compile(t, c.pattern).Explain(e))
		})
	}
}

// TestExplainWholeEvents has data in the middle of a larger text, and names that a
// JSON pointer escapes.
func TestExplainWholeEvents(t *testing.T) {
	t.Parallel()
	e, err := pattern.ParseEvent([]byte(`{"type":"a\"b","data":[[{"x/y":[{}, "}\\\"" ,1.50 ]}]]}`))
	require.NoError(t, err)
	require.Equal(t, []pattern.FieldExplanation{
		{Path: "/type", Matched: true, At: "/type", Value: `"a\"b"`, Reason: "is in the list"},
		{Path: "/data/x~1y", Matched: true, At: "/data/0/0/x~1y/2", Value: `1.50`, Reason: `matches {"numeric": [">", 1]}`},
	}, compile(t, `{"type":["a\"b"],"data":{"x/y":[ {"numeric": [">", 1]} , null]}}`).Explain(e).Fields)
}

// TestExplainTakesTimeInProportion would not end if every level of arrays looked
// through the rest once more for each path.
func TestExplainTakesTimeInProportion(t *testing.T) {
	t.Parallel()
	const depth = 9000
	data := strings.Repeat(`[`, depth) + `{"a":1,"b":{"c":2}}` + strings.Repeat(`]`, depth)
	p := compile(t, `{"data":{"a":[2],"b.c":[3],"b.d":[{"exists":false}]}}`)
	x := p.Explain(pattern.NewEvent(envelope, []byte(data)))
	require.False(t, x.Matched)
	require.Len(t, x.Fields, 3)
	require.True(t, x.Fields[2].Matched)
}
