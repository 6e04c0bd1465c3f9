package httpcall_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// echo answers with the request as it came over the wire.
func echo(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Target", r.RequestURI)
		w.Header().Set("X-Header", r.Header.Get("X-Header"))
		_, _ = http.MaxBytesReader(w, r.Body, 1<<20).Read(nil)
		buf := new(strings.Builder)
		_ = r.Write(buf)
		_, body, _ := strings.Cut(buf.String(), "\r\n\r\n")
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func eventOf(data string) *jobs.Event {
	return &jobs.Event{
		ID: uuid.MustParse("0192f3a1-7c1e-7d3a-9b56-3f1f0c2d4e5f"), Type: "order.paid", Source: "shop", Subject: "42",
		Time: time.Date(2026, 1, 31, 23, 30, 0, 0, time.UTC), Data: json.RawMessage(data),
	}
}

// hostile is data of somebody who tries to break out of every place.
const hostile = `{"path":"a/b?c#d %é&=","dots":"..","name":"x\r\nX-Evil: 1","quote":"\",\"admin\":true,\"x\":\"","markup":"<b a=\"1\">&</b>",
	"host":"evil.example/","id":9007199254740993,"price":1e400,"null":null,"items":[{"b":1.50,"a":"<&>"}],"brace":"{{.event.id}}"}`

func TestValuesAreEscapedForTheirPlace(t *testing.T) {
	t.Parallel()
	url := echo(t)
	for name, c := range map[string]struct{ payload, target, header, body string }{
		"path and query": {
			`{"url":"URL/{{.data.path}}/x?q={{.data.path}}&id={{.data.id}}","method":"GET"}`,
			"/a%2Fb%3Fc%23d%20%25%C3%A9&=/x?q=a%2Fb%3Fc%23d+%25%C3%A9%26%3D&id=9007199254740993", "", "",
		},
		"branches": {
			`{"url":"URL/x{{if .data.id}}?a=1{{end}}{{range .data.items}}&b={{.a}}{{end}}","method":"GET"}`, "/x?a=1&b=%3C%26%3E", "", "",
		},
		"header":               {`{"url":"URL/","method":"GET","headers":{"X-Header":"{{.event.type}} {{.data.id}}"}}`, "/", "order.paid 9007199254740993", ""},
		"texts of a JSON body": {`{"url":"URL/","body":{"z":1.50,"q":"{{.data.quote}}","a":["{{.data.price}}",null,"plain"]}}`, "/", "", `{"z":1.50,"q":"\",\"admin\":true,\"x\":\"","a":["1e400",null,"plain"]}`},
		"values of a JSON body": {
			`{"url":"URL/","body":{"items":"{{json .data.items}}","price":"{{ .data.price | json }}","null":"{{json .data.null}}","text":"is {{json .data.id}}"}}`,
			"/", "", `{"items":[{"a":"<&>","b":1.50}],"price":1e400,"null":null,"text":"is 9007199254740993"}`,
		},
		"names are no templates":  {`{"url":"URL/","body":{"{{x}}":"{{.event.subject}}","b":{"{{y}}":1}}}`, "/", "", `{"{{x}}":"42","b":{"{{y}}":1}}`},
		"values are no templates": {`{"url":"URL/","body":"{{.data.brace}}"}`, "/", "", `"{{.event.id}}"`},
		"a whole body":            {`{"url":"URL/","body":"{{json .data.items}}"}`, "/", "", `[{"a":"<&>","b":1.50}]`},
		"form":                    {`{"url":"URL/","headers":{"content-type":"application/x-www-form-urlencoded"},"body":"a={{.data.path}}&b=1"}`, "/", "", "a=a%2Fb%3Fc%23d+%25%C3%A9%26%3D&b=1"},
		"markup":                  {`{"url":"URL/","headers":{"Content-Type":"application/xml"},"body":"<a>{{.data.markup}}</a>"}`, "/", "", "<a>&lt;b a=&#34;1&#34;&gt;&amp;&lt;/b&gt;</a>"},
		"text":                    {`{"url":"URL/","headers":{"Content-Type":"text/plain"},"body":"{{.data.markup}}"}`, "/", "", `<b a="1">&</b>`},
		"own data":                {`{"url":"URL/{{.data.x}}","data":{"x": 1.0}}`, "/1.0", "", `{"x": 1.0}`},
		"switched off":            {`{"url":"URL/","templates":false,"body":"{{nope"}`, "/", "", `"{{nope"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			payload := json.RawMessage(strings.ReplaceAll(c.payload, "URL", url))
			require.Empty(t, kind(t).Check(payload, jobs.Later{Event: true}))
			result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload, Event: eventOf(hostile)})
			require.NoError(t, err)
			require.Equal(t, c.target, result.Exchange.Headers["X-Target"])
			require.Equal(t, c.header, result.Exchange.Headers["X-Header"])
			require.Equal(t, c.body, result.Exchange.Body)
		})
	}
}

// Without an event and data there is nothing that a template could read, so what the
// application sends is sent as it is.
func TestWhatAnApplicationSendsIsNoTemplate(t *testing.T) {
	t.Parallel()
	payload := json.RawMessage(`{"url":"` + echo(t) + `/","body":{"comment":"{{.x}} {{"},"headers":{"X-Header":"{{y}}"}}`)
	require.Empty(t, kind(t).Check(payload, jobs.Later{}))
	result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload})
	require.NoError(t, err)
	require.Contains(t, result.Exchange.Body, `"{{.x}} {{"`)
	require.Equal(t, "{{y}}", result.Exchange.Headers["X-Header"])
}

func TestWholeURLMayComeFromTheData(t *testing.T) {
	t.Parallel()
	url := echo(t)
	payload := json.RawMessage(`{"url":"{{.data.callback}}&id={{.data.id}}","method":"GET"}`)
	result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload, Event: eventOf(`{"callback":"` + url + `/cb?a=b","id":"&"}`)})
	require.NoError(t, err)
	require.Equal(t, "/cb?a=b&id=%26", result.Exchange.Headers["X-Target"])
}

func TestRequestsThatCannotBeMadeAreForGood(t *testing.T) {
	t.Parallel()
	url := echo(t)
	for name, c := range map[string]struct{ payload, names string }{
		"line break in a header":  {`{"url":"URL/","headers":{"X-Header":"{{.data.name}}"}}`, "headers/X-Header must be one line"},
		"another host":            {`{"url":"http://{{.data.host}}x"}`, "cannot stand in the host"},
		"a user":                  {`{"url":"http://{{print \"a@b\"}}/"}`, "cannot stand in the host"},
		"a step up":               {`{"url":"URL/users/{{.data.dots}}/keys"}`, "url renders to a path with . or .."},
		"half a step up":          {`{"url":"URL/users/.{{print \".\"}}/keys"}`, "url renders to a path with . or .."},
		"absent field":            {`{"url":"URL/{{.data.nothing}}"}`, "url cannot be rendered: line 1:"},
		"absent in the body":      {`{"url":"URL/","body":{"a":[1,{"b/c":"{{.data.nothing}}"}]}}`, "body/a/1/b~1c cannot be rendered"},
		"private address":         {`{"url":"{{print \"http://192.168.0.1/\"}}"}`, "SIGNALSTACK_ALLOW_NETWORKS"},
		"no URL":                  {`{"url":"{{.data.null}}"}`, "url must be an http or https URL"},
		"a file":                  {`{"url":"{{print \"file:///etc/passwd\"}}"}`, "url must be an http or https URL"},
		"endless":                 {`{"url":"URL/","body":"{{range 1000000000}}x{{end}}"}`, "body cannot be rendered"},
		"a payload that went bad": {`{"url":"URL/{{"}`, "url is no template"},
	} {
		payload := json.RawMessage(strings.ReplaceAll(c.payload, "URL", url))
		result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload, Event: eventOf(hostile)})
		require.ErrorContains(t, err, c.names, name)
		require.True(t, jobs.IsPermanent(err), name)
		require.Nil(t, result.Exchange, name)
	}
}

func TestMistakesOfTemplatesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	for payload, pointers := range map[string][]string{
		`{"url":"https://x.y/{{","headers":{"a":"{{if}}"},"body":{"a":["{{nope}}"]}}`:                          {"/url", "/headers/a", "/body/a/0"},
		`{"url":"http://192.168.0.1/","body":"{{.data.x}}"}`:                                                   {"/url"},
		`{"url":"https://x.y/","headers":{"content-type":"{{.data.x}}"},"body":"a"}`:                           {"/headers"},
		`{"url":"https://x.y/","expected_status":[]}`:                                                          {"/expected_status"},
		`{"url":"https://x.y/","expected_status":200}`:                                                         {"/expected_status"},
		`{"url":"https://x.y/","expected_status":[200,"2xx","200-204",99,"6xx","204-200",2.5,{}]}`:             {"/expected_status/3", "/expected_status/4", "/expected_status/5", "/expected_status/6", "/expected_status/7"},
		`{"url":"https://x.y/","result":[]}`:                                                                   {"/result"},
		`{"url":"https://x.y/","result":"body.id"}`:                                                            {"/result"},
		`{"url":"https://x.y/","result":{"a":"$.body.id","b":7,"c":"$[?@.x]","d":"$..a..b","e":"$['a','b']"}}`: {"/result/b", "/result/c", "/result/d", "/result/e"},
		`{"url":"{{.data.u}}","body":"{{.data.x}}"}`:                                                           nil,
	} {
		var found []string
		for _, m := range kind(t).Check(json.RawMessage(payload), jobs.Later{Event: true}) {
			found = append(found, m.Pointer)
		}
		require.ElementsMatch(t, pointers, found, payload)
	}
	// Whoever writes a template and forgets the data is told.
	mistakes := kind(t).Check(json.RawMessage(`{"url":"https://x.y/{{.data.u}}"}`), jobs.Later{})
	require.Len(t, mistakes, 1)
	require.Contains(t, mistakes[0].Detail, "needs data")
	require.Empty(t, kind(t).Check(json.RawMessage(`{"url":"https://x.y/{{.data.u}}","templates":false}`), jobs.Later{}))
	// A job with data of its own is rendered when it is created.
	mistakes = kind(t).Check(json.RawMessage(`{"url":"{{.data.u}}","data":{"u":"http://10.0.0.1/"}}`), jobs.Later{})
	require.Len(t, mistakes, 1)
	require.Contains(t, mistakes[0].Detail, "10.0.0.1")
	mistakes = kind(t).Check(json.RawMessage(`{"url":"https://x.y/{{.data.no}}{{.event.id}}","data":{}}`), jobs.Later{})
	require.Len(t, mistakes, 1)
	require.Equal(t, "/url", mistakes[0].Pointer)
}

func TestTemplatesSeeWhatTheJobWaitedFor(t *testing.T) {
	t.Parallel()
	payload := json.RawMessage(`{"url":"` + echo(t) + `/{{(index .before 0).id}}","body":{
		"all":"{{json .before}}","name":"{{(index .before 0).result.name}}","failed":"{{with index .before 1}}{{.state}}{{end}}"}}`)
	require.Empty(t, kind(t).Check(payload, jobs.Later{Before: true}))
	first, second := uuid.New(), uuid.New()
	result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload, Before: []jobs.Before{
		{ID: first, State: queue.Succeeded, Result: []byte(`{"name":"\"Ada\"","n":1.50}`)}, {ID: second, State: queue.Failed},
	}})
	require.NoError(t, err)
	require.Equal(t, "/"+first.String(), result.Exchange.Headers["X-Target"])
	require.JSONEq(t, `{"all":[{"id":"`+first.String()+`","state":"succeeded","result":{"name":"\"Ada\"","n":1.50}},{"id":"`+second.String()+`","state":"failed"}],
		"name":"\"Ada\"","failed":"failed"}`, result.Exchange.Body)

	_, err = kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload, Before: []jobs.Before{}})
	require.True(t, jobs.IsPermanent(err), "what is not kept any more is not there: %v", err)
}
