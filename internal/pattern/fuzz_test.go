package pattern_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

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
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := pattern.Compile(raw)
		if err == nil {
			require.True(t, json.Valid(raw))
			p.Match(pattern.NewEvent(envelope, raw))
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

// FuzzMatch matches any data. Data is read when encoding/json reads it, and a
// scalar matches the pattern that asks for it.
func FuzzMatch(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{"a":1}`, `{"a":{"b":[1,[2,{"c":"d"}]]},"a":"\ud800\u0000é"}`, `[1e400,-0.0,1E+5,10e-400,1e1000000000000000000000]`,
		`{"a":[{"b":1},{"b":"x"}],"b":[]}`, ` "\"\\\/\b\f\n\r\t\u00e9" `, `{"a":01}`, `[1,]`, `"` + "\xff" + `"`,
	} {
		f.Add([]byte(`{"data":{"a":["x",{"prefix":"a"}]}}`), []byte(seed))
		f.Add([]byte(`{"data":{"a.b":[1]},"type":["order.paid"]}`), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw, data []byte) {
		e := pattern.NewEvent(envelope, data)
		if p, err := pattern.Compile(raw); err == nil {
			got := p.Match(e)
			require.Equal(t, got, p.Match(e), "an event stays the same")
			require.Equal(t, got, p.Match(pattern.NewEvent(envelope, data)))
		}

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
		for _, value := range [][]byte{data, again} {
			p := compile(t, `{"data":[`+string(value)+`]}`)
			require.True(t, p.Match(whole) && p.Match(e), "%s matches %s", value, data)
		}
	})
}

func decodeNumbers(data []byte, into *any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec.Decode(into)
}
