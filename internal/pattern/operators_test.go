package pattern_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pattern"
)

// operatorCase is one list of the language, with values that it wants, values that
// it does not, and spellings of it that are refused. A value is the JSON text of
// data.v; absent is one without the field.
type operatorCase struct {
	list    string
	wants   []string
	refuses []string
}

const missing = ""

var operatorCases = []operatorCase{
	// Exact values: type-strict, numbers by value.
	{`["a"]`, []string{`"a"`, `["b","a"]`}, []string{`"A"`, `"ab"`, `""`, `null`, `{"a":"a"}`, `[]`, missing}},
	{`[42]`, []string{`42`, `42.0`, `4.2e1`, `[[41,[42]]]`}, []string{`"42"`, `420`, `-42`, missing}},
	{`[true]`, []string{`true`}, []string{`false`, `"true"`, `1`, missing}},
	{`[null]`, []string{`null`, `[null]`}, []string{`"null"`, `""`, `0`, `false`, `{}`, `[]`, missing}},
	{`[""]`, []string{`""`}, []string{`null`, `" "`, `{}`, `[]`, missing}},
	{`["10.0.0.1"]`, []string{`"10.0.0.1"`}, []string{`"10.0.0.01"`}},

	{`[{"prefix":"ab"}]`, []string{`"ab"`, `"abc"`, `["x","abx"]`}, []string{`"a"`, `"xab"`, `"Ab"`, `null`, `12`, `{"ab":1}`, missing}},
	{`[{"prefix":""}]`, []string{`""`, `"a"`}, []string{`1`, `null`, `true`, `{}`, `[]`, missing}},
	{`[{"prefix":"4"}]`, []string{`"42"`}, []string{`42`}},
	{
		`[{"prefix":{"equals-ignore-case":"aÉ"}}]`,
		[]string{`"aé"`, `"AÉx"`, `"Aéé"`, `"a\u00c9"`},
		[]string{`"a"`, `"xaé"`, `"aE"`, `"aE\u0301"`, `null`, `1`, missing},
	},
	{`[{"prefix":{"equals-ignore-case":""}}]`, []string{`""`, `"x"`}, []string{`1`, `null`, missing}},

	{`[{"suffix":".png"}]`, []string{`".png"`, `"a.png"`}, []string{`"png"`, `"a.PNG"`, `"a.png "`, `null`, `1`, missing}},
	{`[{"suffix":""}]`, []string{`""`, `"a"`}, []string{`1`, `null`, missing}},
	{`[{"suffix":{"equals-ignore-case":".Png"}}]`, []string{`".png"`, `"a.PNG"`, `"é.pNg"`}, []string{`"png"`, `"a.jpg"`, `"a.png "`, `1`, missing}},

	{
		`[{"equals-ignore-case":"straSSe k"}]`,
		[]string{`"STRASSE K"`, `"strasse k"`, `"\u017ftrasse \u212a"`},
		[]string{`"straße k"`, `"strasse"`, `"strasse kk"`, `null`, `1`, missing},
	},
	{`[{"equals-ignore-case":""}]`, []string{`""`}, []string{`"a"`, `null`, missing}},
	{`[{"equals-ignore-case":"\ud83d"}]`, []string{`"\ud83d"`}, []string{`"\ud83e"`, `"\ufffd"`, `"😀"`}},
	{`[{"equals-ignore-case":"\ufffd"}]`, []string{`"\ufffd"`}, []string{`"\ud83d"`}},

	{`[{"wildcard":"a*b"}]`, []string{`"ab"`, `"axb"`, `"aabb"`, `"a*b"`}, []string{`"a"`, `"b"`, `"abc"`, `"xab"`, `"aB"`, `null`, `1`, missing}},
	{`[{"wildcard":"aba*aba"}]`, []string{`"abaaba"`}, []string{`"aba"`, `"ababa"`}},
	{`[{"wildcard":"*"}]`, []string{`""`, `"a"`}, []string{`1`, `null`, `{}`, missing}},
	{`[{"wildcard":""}]`, []string{`""`}, []string{`"a"`}},
	{`[{"wildcard":"abc"}]`, []string{`"abc"`}, []string{`"abcd"`, `"ab"`}},
	{`[{"wildcard":"*.log*x*"}]`, []string{`".logx"`, `"a.log.x.y"`}, []string{`"a.log"`, `"x.log"`}},
	{`[{"wildcard":"*ab*ab*"}]`, []string{`"abab"`, `"xabxabx"`}, []string{`"aba"`, `"ab"`}},
	{`[{"wildcard":"a\\*b*"}]`, []string{`"a*b"`, `"a*bc"`}, []string{`"axb"`, `"a\\*b"`}},
	{`[{"wildcard":"c:\\\\*"}]`, []string{`"c:\\"`, `"c:\\x"`}, []string{`"c:x"`}},
	{`[{"wildcard":"\\**"}]`, []string{`"*"`, `"*x"`}, []string{`"x"`}},

	{
		`[{"anything-but":"a"}]`,
		[]string{`"b"`, `"A"`, `""`, `null`, `1`, `true`, `["a","b"]`, `[{"x":1},2]`},
		[]string{`"a"`, `["a",["a"]]`, `{"x":1}`, `[]`, missing},
	},
	{`[{"anything-but":["a","b"]}]`, []string{`"c"`, `null`, `1`}, []string{`"a"`, `"b"`, `{}`, missing}},
	{`[{"anything-but":5}]`, []string{`6`, `"5"`, `null`, `false`}, []string{`5`, `5.0`, `50e-1`, missing}},
	{`[{"anything-but":[5,6]}]`, []string{`7`, `"5"`}, []string{`5`, `6`, `6.00`, missing}},
	{`[{"anything-but":""}]`, []string{`"a"`, `null`}, []string{`""`, missing}},
	{`[{"anything-but":{"prefix":"a"}}]`, []string{`"b"`, `""`, `null`, `1`}, []string{`"a"`, `"ab"`, `{}`, missing}},
	{`[{"anything-but":{"prefix":["a","b"]}}]`, []string{`"c"`, `"A"`}, []string{`"ab"`, `"ba"`, missing}},
	{`[{"anything-but":{"suffix":"a"}}]`, []string{`"b"`, `"ab"`, `null`, `1`}, []string{`"a"`, `"ba"`, missing}},
	{`[{"anything-but":{"suffix":["a","b"]}}]`, []string{`"ac"`}, []string{`"cb"`, `"ca"`, missing}},
	{`[{"anything-but":{"equals-ignore-case":"Ab"}}]`, []string{`"abc"`, `null`, `1`}, []string{`"AB"`, `"ab"`, missing}},
	{`[{"anything-but":{"equals-ignore-case":["a","B"]}}]`, []string{`"c"`}, []string{`"A"`, `"b"`, missing}},
	{`[{"anything-but":{"wildcard":"a*b"}}]`, []string{`"a"`, `null`, `1`}, []string{`"ab"`, `"axb"`, missing}},
	{`[{"anything-but":{"wildcard":["a*","*z"]}}]`, []string{`"bc"`, `""`}, []string{`"ab"`, `"yz"`, missing}},
	{`[{"anything-but":{"wildcard":""}}]`, []string{`"a"`, `null`}, []string{`""`, missing}},
	{`[{"anything-but":{"equals-ignore-case":""}}]`, []string{`"a"`}, []string{`""`}},

	{`[{"numeric":["=",5]}]`, []string{`5`, `5.0`, `0.5e1`}, []string{`"5"`, `5.1`, `-5`, `null`, `true`, missing}},
	{`[{"numeric":["<",5]}]`, []string{`4.999999999999999999999`, `-1e400`, `0`}, []string{`5`, `5.000000000000000000001`, `1e400`, missing}},
	{`[{"numeric":["<=",5]}]`, []string{`5`, `5.00`, `-6`}, []string{`5.000000000000000000001`, `"4"`}},
	{`[{"numeric":[">",-5]}]`, []string{`-4.99`, `0`, `1e-400`, `1e400`}, []string{`-5`, `-5.01`, `-1e400`, `"0"`}},
	{`[{"numeric":[">=",-5]}]`, []string{`-5`, `-0`, `[-6,-5.0]`}, []string{`-5.0000000000000000001`, `[-6,-7]`, `[]`}},
	{`[{"numeric":[">",0,"<=",5]}]`, []string{`5`, `1e-1000000000`, `0.1`}, []string{`0`, `-0.0`, `5.1`, `-1`, `[0,6]`, `"1"`, `null`, missing}},
	{`[{"numeric":[">=",0,"<",5]}]`, []string{`0`, `4.9`}, []string{`5`, `-0.1`}},
	{`[{"numeric":[">",9007199254740992,"<",9007199254740994]}]`, []string{`9007199254740993`}, []string{`9007199254740992`, `9007199254740994`}},
	{`[{"numeric":[">=",1e400,"<",1e1000000000000000000000]}]`, []string{`1e400`, `9e999999999999999999999`}, []string{`9.99e399`, `1e1000000000000000000000`, `1e1000000000000000000001`}},

	{
		`[{"cidr":"10.1.0.0/16"}]`,
		[]string{`"10.1.0.0"`, `"10.1.255.255"`, `["x","10.1.2.3"]`, `"::ffff:10.1.2.3"`},
		[]string{`"10.2.0.0"`, `"10.0.255.255"`, `"10.1.2"`, `"10.1.2.3/32"`, `"010.1.2.3"`, `" 10.1.2.3"`, `"::"`, `"x"`, `""`, `167837955`, `null`, missing},
	},
	{`[{"cidr":"10.1.2.3/16"}]`, []string{`"10.1.9.9"`}, []string{`"10.2.2.3"`}},
	{`[{"cidr":"0.0.0.0/0"}]`, []string{`"255.255.255.255"`}, []string{`"::1"`, `"256.1.1.1"`}},
	{`[{"cidr":"192.0.2.7/32"}]`, []string{`"192.0.2.7"`}, []string{`"192.0.2.8"`}},
	{
		`[{"cidr":"2001:db8::/32"}]`,
		[]string{`"2001:db8::"`, `"2001:DB8:ffff:ffff:ffff:ffff:ffff:ffff"`, `"2001:0db8:0::1"`},
		[]string{`"2001:db9::"`, `"2001:db8::1%eth0"`, `"2001:db8"`, `"32.1.13.184"`, `1`, missing},
	},
	{`[{"cidr":"::ffff:10.0.0.0/104"}]`, []string{`"10.9.9.9"`, `"::ffff:a09:909"`}, []string{`"11.0.0.0"`}},

	{`[{"exists":true}]`, []string{`1`, `null`, `""`, `false`, `[1]`, `[[],[null]]`, `[{"x":1},2]`}, []string{`{"x":1}`, `{}`, `[]`, `[[]]`, `[{"x":1}]`, missing}},
	{`[{"exists":false}]`, []string{missing, `{"x":1}`, `{}`, `[]`, `[[],[[]]]`, `[{"x":1}]`}, []string{`1`, `null`, `""`, `[1]`, `[{"x":1},2]`}},
	{`[{"exists":false},"a",{"numeric":[">",5]}]`, []string{missing, `"a"`, `6`, `{}`, `["b","a"]`}, []string{`"b"`, `5`, `null`, `["b",5]`, `[{},"b"]`}},
	{`[{"exists":true},{"exists":false}]`, []string{missing, `1`, `{}`, `[]`}, nil},

	// A list is joined by or.
	{
		`["a",7,null,{"prefix":"p"},{"suffix":"s"},{"equals-ignore-case":"i"},{"wildcard":"w*w"},{"numeric":["<",0]},{"cidr":"10.0.0.0/8"}]`,
		[]string{`"a"`, `7`, `null`, `"pq"`, `"rs"`, `"I"`, `"wxw"`, `-1`, `"10.1.1.1"`},
		[]string{`"b"`, `8`, `true`, `"qp"`, `"sr"`, `"ii"`, `"w"`, `"11.1.1.1"`, `{}`, missing},
	},
}

func TestOperators(t *testing.T) {
	t.Parallel()
	for _, c := range operatorCases {
		t.Run(c.list, func(t *testing.T) {
			t.Parallel()
			p := compile(t, `{"data":{"v":`+c.list+`}}`)
			set := pattern.NewSet([]*pattern.Pattern{p})
			check := func(value string, want bool) {
				data := `{"w":1}`
				if value != missing {
					data = `{"v":` + value + `}`
				}
				e := pattern.NewEvent(envelope, []byte(data))
				require.Equal(t, want, p.Match(e), value)
				require.Equal(t, want, len(set.Match(e)) == 1, value)
				require.Equal(t, want, p.Explain(e).Matched, value)
			}
			for _, value := range c.wants {
				check(value, true)
			}
			for _, value := range c.refuses {
				check(value, false)
			}
		})
	}
}

func TestOperatorsRefuse(t *testing.T) {
	t.Parallel()
	const text = "must be a string; for several, put several"
	for _, c := range []struct{ operator, pointer, detail string }{
		{`{"prefix":["a","b"]}`, "/prefix", text + ` {"prefix": "a"}`},
		{`{"prefix":5}`, "/prefix", text},
		{`{"prefix":null}`, "/prefix", text},
		{`{"prefix":{}}`, "/prefix", `must be a string, or {"equals-ignore-case": "a"}`},
		{`{"prefix":{"suffix":"a"}}`, "/prefix", `must be a string, or {"equals-ignore-case": "a"}`},
		{`{"prefix":{"equals-ignore-case":"a","suffix":"a"}}`, "/prefix", `must be a string, or`},
		{`{"prefix":{"equals-ignore-case":["a"]}}`, "/prefix/equals-ignore-case", text + ` {"equals-ignore-case": "a"}`},
		{`{"prefix":{"equals-ignore-case":1}}`, "/prefix/equals-ignore-case", text},

		{`{"suffix":["a","b"]}`, "/suffix", text + ` {"suffix": "a"}`},
		{`{"suffix":true}`, "/suffix", text},
		{`{"suffix":{"prefix":"a"}}`, "/suffix", `must be a string, or {"equals-ignore-case": "a"}`},
		{`{"suffix":{"equals-ignore-case":null}}`, "/suffix/equals-ignore-case", text},

		{`{"equals-ignore-case":["a"]}`, "/equals-ignore-case", text},
		{`{"equals-ignore-case":1}`, "/equals-ignore-case", text},
		{`{"equals-ignore-case":{"prefix":"a"}}`, "/equals-ignore-case", text},

		{`{"wildcard":["a*"]}`, "/wildcard", text},
		{`{"wildcard":null}`, "/wildcard", text},
		{`{"wildcard":"a**b"}`, "/wildcard", "has two stars in a row"},
		{`{"wildcard":"\\***"}`, "/wildcard", "has two stars in a row"},
		{`{"wildcard":"a\\b"}`, "/wildcard", "has a backslash before something other than"},
		{`{"wildcard":"a\\"}`, "/wildcard", "has a backslash before something other than"},
		{`{"wildcard":"` + strings.Repeat("*a", pattern.MaxStars+1) + `"}`, "/wildcard", "brings the pattern above 256 stars"},

		{`{"anything-but":null}`, "/anything-but", "must be a string or a number"},
		{`{"anything-but":true}`, "/anything-but", "must be a string or a number"},
		{`{"anything-but":[]}`, "/anything-but", "is empty and would exclude nothing"},
		{`{"anything-but":["a",null]}`, "/anything-but/1", "must be a string or a number"},
		{`{"anything-but":[false]}`, "/anything-but/0", "must be a string or a number"},
		{`{"anything-but":[["a"]]}`, "/anything-but/0", "must be a string or a number"},
		{`{"anything-but":[{"prefix":"a"}]}`, "/anything-but/0", "must be a string or a number"},
		{`{"anything-but":["a",1]}`, "/anything-but/1", "mixes strings and numbers"},
		{`{"anything-but":[1,"a"]}`, "/anything-but/1", "mixes strings and numbers"},
		{`{"anything-but":[` + numbers(pattern.MaxValues) + `]}`, "/anything-but", "above 2000 values"},
		{`{"anything-but":{}}`, "/anything-but", "must have one operator"},
		{`{"anything-but":{"prefix":"a","suffix":"b"}}`, "/anything-but", "must have one operator"},
		{`{"anything-but":{"numeric":["=",1]}}`, "/anything-but/numeric", "is not an operator inside anything-but"},
		{`{"anything-but":{"exists":true}}`, "/anything-but/exists", "is not an operator inside anything-but"},
		{`{"anything-but":{"cidr":"10.0.0.0/8"}}`, "/anything-but/cidr", "is not an operator inside anything-but"},
		{`{"anything-but":{"anything-but":"a"}}`, "/anything-but/anything-but", "is not an operator inside anything-but"},
		{`{"anything-but":{"a":"b"}}`, "/anything-but/a", "is not an operator inside anything-but"},
		{`{"anything-but":{"prefix":""}}`, "/anything-but/prefix", "is empty and would exclude every string"},
		{`{"anything-but":{"prefix":["a",""]}}`, "/anything-but/prefix/1", "is empty and would exclude every string"},
		{`{"anything-but":{"suffix":""}}`, "/anything-but/suffix", "is empty and would exclude every string"},
		{`{"anything-but":{"suffix":[""]}}`, "/anything-but/suffix/0", "is empty and would exclude every string"},
		{`{"anything-but":{"prefix":[]}}`, "/anything-but/prefix", "is empty and would exclude nothing"},
		{`{"anything-but":{"prefix":1}}`, "/anything-but/prefix", "must be a string or a list of strings"},
		{`{"anything-but":{"prefix":[1]}}`, "/anything-but/prefix/0", "must be a string or a list of strings"},
		{`{"anything-but":{"prefix":{"equals-ignore-case":"a"}}}`, "/anything-but/prefix", "without an operator in it"},
		{`{"anything-but":{"suffix":[{"equals-ignore-case":"a"}]}}`, "/anything-but/suffix/0", "without an operator in it"},
		{`{"anything-but":{"equals-ignore-case":null}}`, "/anything-but/equals-ignore-case", "must be a string or a list of strings"},
		{`{"anything-but":{"equals-ignore-case":["a",1]}}`, "/anything-but/equals-ignore-case/1", "must be a string or a list of strings"},
		{`{"anything-but":{"wildcard":1}}`, "/anything-but/wildcard", "must be a string or a list of strings"},
		{`{"anything-but":{"wildcard":["a*","b**"]}}`, "/anything-but/wildcard/1", "has two stars in a row"},

		{`{"numeric":5}`, "/numeric", "must be a list of a comparison and a number"},
		{`{"numeric":">5"}`, "/numeric", "must be a list of a comparison and a number"},
		{`{"numeric":[]}`, "/numeric", "must be a list of a comparison and a number"},
		{`{"numeric":[5]}`, "/numeric/0", "must be a comparison"},
		{`{"numeric":["=>",5]}`, "/numeric/0", "must be a comparison"},
		{`{"numeric":["!=",5]}`, "/numeric/0", "must be a comparison"},
		{`{"numeric":[[">"],5]}`, "/numeric/0", "must be a comparison"},
		{`{"numeric":[">"]}`, "/numeric/0", "is > without a number behind it"},
		{`{"numeric":[">","5"]}`, "/numeric/1", "must be a number, for > to compare with"},
		{`{"numeric":["=",null]}`, "/numeric/1", "must be a number"},
		{`{"numeric":["<",[5]]}`, "/numeric/1", "must be a number"},
		{`{"numeric":[">",0,"<"]}`, "/numeric/2", "is < without a number behind it"},
		{`{"numeric":[">",0,5]}`, "/numeric/2", "must be a comparison"},
		{`{"numeric":[">",0,"<","5"]}`, "/numeric/3", "must be a number, for < to compare with"},
		{`{"numeric":["<",5,">",0]}`, "/numeric", "has < and then >; a range is a lower bound"},
		{`{"numeric":[">",0,">",5]}`, "/numeric", "has > and then >"},
		{`{"numeric":["<=",0,"<",5]}`, "/numeric", "has <= and then <"},
		{`{"numeric":["=",0,"<",5]}`, "/numeric", "has = and then <"},
		{`{"numeric":[">=",0,"=",5]}`, "/numeric", "has >= and then ="},
		{`{"numeric":[">",5,"<",0]}`, "/numeric", "has a lower bound that is not less than the upper one"},
		{`{"numeric":[">=",5,"<=",5.0]}`, "/numeric", "has a lower bound that is not less than the upper one"},
		{`{"numeric":[">",0,"<",5,"<",6]}`, "/numeric", "has 3 comparisons"},

		{`{"cidr":"10.0.0.0"}`, "/cidr", "must be a network"},
		{`{"cidr":"10.0.0/8"}`, "/cidr", "must be a network"},
		{`{"cidr":"10.0.0.0/33"}`, "/cidr", "must be a network"},
		{`{"cidr":"10.0.0.0/-1"}`, "/cidr", "must be a network"},
		{`{"cidr":"10.0.0.256/8"}`, "/cidr", "must be a network"},
		{`{"cidr":"2001:db8::/129"}`, "/cidr", "must be a network"},
		{`{"cidr":"fe80::1%eth0/64"}`, "/cidr", "must be a network"},
		{`{"cidr":""}`, "/cidr", "must be a network"},
		{`{"cidr":["10.0.0.0/8"]}`, "/cidr", text},
		{`{"cidr":10}`, "/cidr", text},

		{`{"exists":"true"}`, "/exists", "must be true or false"},
		{`{"exists":null}`, "/exists", "must be true or false"},
		{`{"exists":1}`, "/exists", "must be true or false"},
		{`{"exists":[true]}`, "/exists", "must be true or false"},
	} {
		t.Run(c.operator, func(t *testing.T) {
			t.Parallel()
			_, err := pattern.Compile([]byte(`{"data":{"v":["x",` + c.operator + `]}}`))
			var problems pattern.Problems
			require.ErrorAs(t, err, &problems)
			require.Len(t, problems, 1, "%v", err)
			require.Equal(t, "/data/v/1"+c.pointer, problems[0].Pointer)
			require.Contains(t, problems[0].Detail, c.detail)
		})
	}
}

// TestPatternsOfSeveralFields holds what stands between fields: $or, arrays, and
// what has to be absent.
func TestPatternsOfSeveralFields(t *testing.T) {
	t.Parallel()
	items := `{"items":[{"sku":"a","error":"x"},{"sku":"b"}]}`
	for _, c := range []struct {
		name, pattern, data string
		want                bool
	}{
		{"first branch", `{"$or":[{"a":[1]},{"b":[2]}]}`, `{"a":1,"b":1}`, true},
		{"second branch", `{"$or":[{"a":[1]},{"b":[2]}]}`, `{"b":2}`, true},
		{"no branch", `{"$or":[{"a":[1]},{"b":[2]}]}`, `{"a":2,"b":1}`, false},
		{"and beside or", `{"c":[3],"$or":[{"a":[1]},{"b":[2]}]}`, `{"a":1,"c":4}`, false},
		{"and within a branch", `{"$or":[{"a":[1],"c":[3]},{"b":[2]}]}`, `{"a":1,"c":4}`, false},
		{"or below", `{"x":{"$or":[{"a":[1]},{"b":[2]}]}}`, `{"x":{"b":2}}`, true},
		{"or within or", `{"$or":[{"a":[1]},{"x":{"$or":[{"b":[2]},{"c":[3]}]}}]}`, `{"x":{"c":3}}`, true},
		{"two or", `{"$or":[{"a":[1]},{"b":[1]}],"$or":[{"a":[2]},{"c":[1]}]}`, `{"b":1,"c":1}`, true},
		{"only one of two or", `{"$or":[{"a":[1]},{"b":[1]}],"$or":[{"a":[2]},{"c":[1]}]}`, `{"b":1}`, false},
		{"dotted or", `{"x.$or":[{"a":[1]},{"b":[2]}]}`, `{"x":{"a":1}}`, true},
		{"one field beside and in a branch", `{"a":[1,2],"$or":[{"a":[2,3]},{"b":[1]}]}`, `{"a":2}`, true},
		{"beside alone is not enough", `{"a":[1,2],"$or":[{"a":[2,3]},{"b":[1]}]}`, `{"a":1}`, false},
		{"a branch alone is not enough", `{"a":[1,2],"$or":[{"a":[2,3]},{"b":[1]}]}`, `{"a":3}`, false},
		{"of the same element", `{"a":[1],"$or":[{"a":[{"numeric":[">",1]}]},{"b":[1]}]}`, `{"a":[1,2]}`, false},
		{"or in one element", `{"x":{"k":[1],"$or":[{"a":[1]},{"b":[1]}]}}`, `{"x":[{"k":2,"a":1},{"k":1,"b":1}]}`, true},
		{"or across elements", `{"x":{"k":[1],"$or":[{"a":[1]},{"b":[1]}]}}`, `{"x":[{"k":2,"a":1},{"k":1}]}`, false},
		{"or above an array", `{"x":{"k":[1]},"$or":[{"x":{"a":[1]}},{"b":[1]}]}`, `{"x":[{"k":1},{"a":1}]}`, false},
		{"or above an array, one element", `{"x":{"k":[1]},"$or":[{"x":{"a":[1]}},{"b":[1]}]}`, `{"x":[{"k":2},{"a":1,"k":1}]}`, true},
		{"$or as a field of an object", `{"$or":{"a":[1]}}`, `{"$or":{"a":1}}`, true},
		{"$or as a field with operators", `{"$or":[{"prefix":"a"},{"numeric":["=",1]}]}`, `{"$or":1}`, true},
		{"$or as a field with one operator", `{"$or":[{"cidr":"10.0.0.0/24"}]}`, `{"$or":"10.0.0.7"}`, true},
		{"$or in the middle of a path", `{"$or.a":[1]}`, `{"$or":{"a":1}}`, true},

		{"absent from the element", `{"items":{"sku":["b"],"error":[{"exists":false}]}}`, items, true},
		{"there in the element", `{"items":{"sku":["a"],"error":[{"exists":false}]}}`, items, false},
		{"absent from every element", `{"items":{"warning":[{"exists":false}]}}`, items, true},
		{"absent from one element only", `{"items":{"error":[{"exists":false}]}}`, items, false},
		{"absent, or a value of any element", `{"items":{"error":[{"exists":false},"x"]}}`, items, true},
		{"absent, or another value", `{"items":{"error":[{"exists":false},"y"]}}`, items, false},
		{"absent from an array within the element", `{"items":{"sku":["b"],"parts":{"n":[{"exists":false}]}}}`, `{"items":[{"sku":"b","parts":[{"m":1},{"n":1}]}]}`, false},
		{"absent below what is absent", `{"a":{"b":{"c":[{"exists":false}]}}}`, `{"x":1}`, true},
		{"absent below a value", `{"a":{"b":[{"exists":false}]}}`, `{"a":1}`, true},
		{"absent and beside it a value", `{"a":[{"exists":false}],"b":[1]}`, `{"b":1}`, true},
		{"one branch absent from all", `{"x":{"$or":[{"a":[{"exists":false}]},{"b":[{"exists":false}]}]}}`, `{"x":[{"a":1},{"a":2}]}`, true},
		{"each branch there somewhere", `{"x":{"$or":[{"a":[{"exists":false}]},{"b":[{"exists":false}]}]}}`, `{"x":[{"a":1},{"b":2}]}`, false},
		{"an object, and fields of it", `{"a":[{"exists":false}],"a":{"b":[1]}}`, `{"a":{"b":1}}`, true},
		{"a value, and fields of another", `{"a":[{"exists":false}],"a":{"b":[1]}}`, `{"a":[5,{"b":1}]}`, true},
		{"numbers of one element", `{"i":{"p":[{"numeric":[">",0,"<",100]}],"n":["g"]}}`, `{"i":[{"n":"w","p":50},{"n":"g","p":200}]}`, false},
		{"last of two keys is absent enough", `{"a":{"b":[{"exists":false}]}}`, `{"a":{"b":1},"a":{"c":1}}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, `{"data":`+c.pattern+`}`)
			e := pattern.NewEvent(envelope, []byte(c.data))
			require.Equal(t, c.want, p.Match(e))
			require.Equal(t, c.want, len(pattern.NewSet([]*pattern.Pattern{p}).Match(e)) == 1)
			require.Equal(t, c.want, p.Explain(e).Matched)
		})
	}
}

func TestEnvelopeWithOperators(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]bool{
		`{"subject":[{"exists":false}]}`:                                     true,
		`{"subject":[{"exists":true}]}`:                                      false,
		`{"subject":[{"anything-but":"x"}]}`:                                 false,
		`{"subject":["x",{"exists":false}],"type":[{"suffix":".paid"}]}`:     true,
		`{"type":[{"exists":false}]}`:                                        false,
		`{"type":[{"wildcard":"order.*"}],"time":[{"anything-but":["x"]}]}`:  true,
		`{"type":[{"equals-ignore-case":"ORDER.PAID"}]}`:                     true,
		`{"$or":[{"type":["x"]},{"source":["shop"]}]}`:                       true,
		`{"$or":[{"type":["x"]},{"source":["till"]}]}`:                       false,
		`{"type":["order.paid"],"$or":[{"type":["x"]},{"source":["shop"]}]}`: true,
		`{"$or":[{"type":["x"]},{"data":{"a":[1]}}]}`:                        false,
		`{"data":[{"exists":false}]}`:                                        true,
		`{"data":{"a":{"b":[{"exists":false}]}}}`:                            true,
		`{"data":{"a":[{"exists":false}],"b":[1]}}`:                          false,
	} {
		p := compile(t, raw)
		for _, data := range []string{"", "{", "nil"} { // what is no JSON counts as absent
			e := pattern.NewEvent(envelope, []byte(data))
			require.Equal(t, want, p.Match(e), raw)
			require.Equal(t, want, len(pattern.NewSet([]*pattern.Pattern{p}).Match(e)) == 1, raw)
			require.Equal(t, want, p.Explain(e).Matched, raw)
		}
	}
}
