package pattern_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pattern"
)

// FuzzCompile compiles any bytes: it answers with a pattern, and then they were
// JSON, or with mistakes that each have a place and a text.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `{"type":["a",{"prefix":"b"}]}`, `{"data":{"a.b":[1,1e400,null]},"data.a":{"c":[true]}}`,
		`{"$or":[{"type":["a"]},{"type":["b"]}]}`, `{"type":[{"prefix":{"equals-ignore-case":"a"}}]}`,
		`{"data":{"n":[{"numeric":[">",0,"<=",5]}]}}`, `{"data":{"\ud800":["\ud83d\ude00\u0000"]}}`, `{"":[[]],".":[{}]}`,
		`{"data":{"$or":[{"a":[{"exists":false}]},{"$or":[{"b":[1]},{"c.$or":[{"d":[2]},{"e":[3]}]}]}]}}`,
		`{"type":[{"wildcard":"a*\\*b\\\\"},{"anything-but":{"wildcard":["*","a*"]}},{"cidr":"::/0"},{"cidr":"10.0.0.0/33"}]}`,
		`{"type":[{"anything-but":["a",1,null]},{"anything-but":{"suffix":""}},{"exists":0}]}`, `{"data":{"$or":[{"prefix":"a"},[]]}}`,
		`{"data":{"n":[{"numeric":["=",1,"<"]},{"numeric":[]},{"numeric":[[],{}]},{"numeric":["<",5,">",1e-400]}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := pattern.Compile(raw)
		if err == nil {
			require.True(t, json.Valid(raw))
			e := pattern.NewEvent(envelope, raw)
			require.Equal(t, p.Match(e), p.Explain(e).Matched)
			return
		}
		require.Nil(t, p)
		problems, ok := errors.AsType[pattern.Problems](err)
		require.True(t, ok)
		require.NotEmpty(t, problems)
		for _, problem := range problems {
			require.NotEmpty(t, problem.Detail)
			require.True(t, problem.Pointer == "" || strings.HasPrefix(problem.Pointer, "/"), problem.Pointer)
		}
	})
}

// FuzzParse reads any data: it is read when encoding/json reads it, and a scalar
// matches the pattern that asks for it.
func FuzzParse(f *testing.F) {
	for _, seed := range eventSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text := []byte(`{"data":` + string(data) + `}`)
		whole, err := pattern.ParseEvent(text)
		require.Equal(t, json.Valid(text), err == nil, "%v", err)
		var v any
		if err := decodeNumbers(data, &v); err != nil || !json.Valid(data) {
			return
		}
		again, err := json.Marshal(v)
		require.NoError(t, err)
		if _, err := pattern.Compile([]byte(`{"data":[` + string(again) + `]}`)); err != nil || strings.ContainsRune(string(again), '\uFFFD') {
			return // no scalar, or encoding/json has replaced something
		}
		if _, isOperator := v.(map[string]any); isOperator {
			return
		}
		e := pattern.NewEvent(envelope, data)
		for _, value := range [][]byte{data, again} {
			p := compile(t, `{"data":[`+string(value)+`]}`)
			require.True(t, p.Match(whole) && p.Match(e), "%s matches %s", value, data)
		}
	})
}

var eventSeeds = []string{
	``, `null`, `{"a":1}`, `{"a":{"b":[1,[2,{"c":"d"}]]},"a":"\ud800\u0000é"}`, `[1e400,-0.0,1E+5,10e-400,1e1000000000000000000000]`,
	`{"a":[{"b":1},{"b":"x"}],"b":[]}`, ` "\"\\\/\b\f\n\r\t\u00e9" `, `{"a":01}`, `[1,]`, `"` + "\xff" + `"`,
	`{"a":[{"b":1,"c":"10.0.0.1"},{"b":"aXb"},[]],"a.b":"::1"}`, `{"a":-1.50e1,"b":"ſK"}`,
}

var patternSeeds = []string{
	`["x",{"prefix":"a"}]`, `{"a.b":[1],"c":[{"exists":false}]}`, `{"a":{"b":[{"exists":false},"x"],"c":[{"exists":true}]}}`,
	`{"$or":[{"a":[{"numeric":["<",0]}]},{"a":{"b":[1]},"$or":[{"a.c":["x"]},{"b":[{"anything-but":[1]}]}]}]}`,
	`{"a":[{"suffix":{"equals-ignore-case":"B"}},{"wildcard":"a*\\**"},{"anything-but":{"prefix":["a"]}}],"a":{"b":[{"cidr":"10.0.0.0/8"}]}}`,
	`{"$or":{"a":[1]},"x$or":[2],"a.$or":[{"prefix":"x"}],"b.$or":[{"c":["x"]},{"d.$or.$or":[{"e":[1]},{"f":[2]}]}]}`,
	`{"b":[{"equals-ignore-case":"sk"},{"prefix":{"equals-ignore-case":"S"}},{"numeric":[">=",-15,"<",1e400]}]}`,
}

// FuzzMatch matches any pattern of data against any data, alone and in a set, as
// the naive evaluator does.
func FuzzMatch(f *testing.F) {
	for _, raw := range patternSeeds {
		for _, data := range eventSeeds {
			f.Add([]byte(raw), []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, of, data []byte) {
		raw := []byte(`{"data":` + string(of) + `}`)
		p, err := pattern.Compile(raw)
		if err != nil {
			return
		}
		e := pattern.NewEvent(envelope, data)
		got := p.Match(e)
		require.Equal(t, got, p.Match(e), "an event stays the same")
		require.Equal(t, got, p.Match(pattern.NewEvent(envelope, data)))
		require.Equal(t, got, p.Explain(e).Matched)
		others := []*pattern.Pattern{p, p, p, compile(t, `{"type":["x"]}`), compile(t, `{"data":[{"exists":false}]}`), p}
		require.Equal(t, matchAll(others, e), pattern.NewSet(others).Match(e))

		var tree any
		event := []byte(`{"data":` + string(data) + `}`)
		if !naiveCan(raw) || !naiveCan(event) || !json.Valid(data) || decodeNumbers(event, &tree) != nil {
			return
		}
		want := readNaive(t, string(raw))
		if len(want) > 20 || ways(tree) > 100 {
			return
		}
		require.Equal(t, want.matches(tree), got, "%s on %s", raw, data)
	})
}

// far is what big.Rat would work on for ever, and absences what the naive
// evaluator tries in every combination.
var (
	far      = regexp.MustCompile(`[eE][+-]?[0-9]{4}`)
	absences = regexp.MustCompile(`"exists"`)
)

// naiveCan tells whether the naive evaluator can read a text: encoding/json reads
// surrogates that stand alone as U+FFFD.
func naiveCan(text []byte) bool {
	return utf8.Valid(text) && !far.Match(text) && !bytes.ContainsRune(text, utf8.RuneError) &&
		!bytes.Contains(bytes.ToLower(text), []byte(`\u`)) && len(absences.FindAll(text, 7)) < 7
}

// ways gives how many ways there are to choose elements, or more than 100.
func ways(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		n = 0
		for _, element := range v {
			n = min(n+ways(element), 1000)
		}
		n = max(n, 1)
	case map[string]any:
		for _, field := range v {
			n = min(n*ways(field), 1000)
		}
	}
	return n
}

func decodeNumbers(data []byte, into *any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec.Decode(into)
}
