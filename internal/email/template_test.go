package email_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/jobs"
)

func TestTemplatesPrintWhatTheirAuthorsMean(t *testing.T) {
	t.Parallel()
	const data = `{"name":"Ünal","big":9007199254740993,"huge":123456789012345678901234567890,"price":99.50,"exp":1e400,"n":5,"zero":0,
		"null":null,"empty":"","yes":true,"list":["a",1,null,2.0],"items":[{"sku":"x"},{"sku":"y"}],"at":"2026-07-01T12:00:00+02:00","unix":1600000000,"pct":"%d"}`
	server := (&mailServer{}).start(t)
	kind := kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender})
	for source, want := range map[string]string{
		`{{.data.big}} {{.data.huge}} {{.data.price}} {{.data.exp}}`:                                "9007199254740993 123456789012345678901234567890 99.50 1e400",
		`{{if gt .data.n 4}}more{{end}}{{if eq .data.zero 0}}none{{end}}`:                           "morenone",
		`{{if gt (number .data.price) 99.4}}dear{{end}}`:                                            "dear",
		`[{{.data.null}}] {{if .data.null}}x{{else}}null{{end}} {{range .data.null}}x{{end}}`:       "[] null ",
		`{{.data.null | default "friend"}} {{.data.empty | default 7}} {{.data.zero | default 7}}`:  "friend 7 0",
		`{{get .data "items.1.sku"}} [{{get .data "items.2.sku"}}] {{get .data "x.y"|default "-"}}`: "y [] -",
		`{{if get .data "absent"}}x{{else}}no{{end}} {{get . "event.type"}}`:                        "no order.paid",
		`{{upper .data.name}} {{lower .data.name}} {{truncate 3 .data.name}} {{truncate 0 "ab"}}`:   "ÜNAL ünal Ün… ",
		`{{truncate 4 .data.name}}`:                                                    "Ünal",
		`{{join ", " .data.list}} {{join "-" .data.name}}`:                             "a, 1, , 2.0 Ünal",
		`{{range .data.items}}{{.sku}}{{$.event.subject}} {{else}}-{{end}}`:            "x42 y42 ",
		`{{range $i, $item := .data.items}}{{if $i}}{{break}}{{end}}{{$i}}{{end}}`:     "0",
		`{{json .data.items}} {{json .data.null}} {{json .data.exp}} {{json "<&>"}}`:   `[{"sku":"x"},{"sku":"y"}] null 1e400 "<&>"`,
		`{{date "2 January 2006 15:04" .event.time}}`:                                  "31 January 2026 23:30",
		`{{.event.time | date "02.01.2006 15:04 MST" "Europe/Berlin"}}`:                "01.02.2026 00:30 CET",
		`{{date "15:04" .data.at}} {{date "15:04" "UTC" .data.at}}`:                    "12:00 10:00",
		`{{date "2006-01-02" .data.unix}}`:                                             "2020-09-13",
		`{{printf "%05.1f|%s|%v" (number .data.price) .data.pct .data.n}} in 2026`:     "099.5|%d|5 in 2026",
		`{{print 1 2}} {{urlquery "a b&c"}} {{html "<"}} {{js "'"}} {{len .data.big}}`: "error",
		`{{print 1 2}} {{urlquery "a b&c"}} {{html "<"}} {{len .data.list}}`:           "1 2 a+b%26c &lt; 4",
		`<{{.data.name}}> stays as it is in text`:                                      "<Ünal> stays as it is in text",
	} {
		job := jobOf(`{"to":"a@example.com","subject":"s","text":`+strconv.Quote(source)+`}`, data)
		err := run(t, kind, job)
		if want == "error" {
			require.Error(t, err, source)
			continue
		}
		require.NoError(t, err, source)
		all := server.all()
		require.Equal(t, want, all[len(all)-1].open(t).parts["text/plain"], source)
	}
}

func TestMistakesOfRenderingAreForGood(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	kind := kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender})
	const data = `{"crlf":"x\r\nBcc: eve@example.com","list":"a@example.com, b@example.com","name":"eve@example.com>, <x","word":"=?utf-8?q?a=0d=0aBcc:_eve@example.com?= <a@example.com>","n":1,"none":""}`
	for name, c := range map[string]struct{ payload, names string }{
		"absent field":                {`{"to":"a@example.com","subject":"{{.data.nothing}}","text":"t"}`, "subject cannot be rendered: line 1:"},
		"absent level":                {`{"to":"a@example.com","subject":"s","html":"<p>\n{{.data.customer.name}}"}`, "html cannot be rendered: line 2:"},
		"line break in the subject":   {`{"to":"a@example.com","subject":"{{.data.crlf}}","text":"t"}`, "subject must not hold control characters"},
		"line break in an address":    {`{"to":"a@example.com{{.data.crlf}}","subject":"s","text":"t"}`, "to must be one address"},
		"line break in a name":        {`{"to":["{{.data.crlf}} <a@example.com>"],"subject":"s","text":"t"}`, "to/0 must be one address"},
		"encoded line break":          {`{"to":"{{.data.word}}","subject":"s","text":"t"}`, "to must be one address"},
		"two addresses for one":       {`{"to":"{{.data.list}}","subject":"s","text":"t"}`, "to must be one address"},
		"another address by the name": {`{"to":"{{.data.name}} <a@example.com>","subject":"s","text":"t"}`, "to must be one address"},
		"no address":                  {`{"to":"{{.data.none}}","subject":"s","text":"t"}`, "to renders to no address"},
		"no number":                   {`{"to":"a@example.com","subject":"{{number .data.crlf}}","text":"t"}`, "is no number"},
		"no time":                     {`{"to":"a@example.com","subject":"{{date \"2006\" .data.crlf}}","text":"t"}`, "RFC 3339"},
		"no zone":                     {`{"to":"a@example.com","subject":"{{date \"2006\" \"Mars/Base\" .event.time}}","text":"t"}`, "Mars/Base"},
		"no payload":                  {``, "must be an object"},
		"a payload that went bad":     {`{"to":"a@example.com","subject":"{{","text":"t"}`, "subject is no template"},
	} {
		err := run(t, kind, jobOf(c.payload, data))
		require.ErrorContains(t, err, c.names, name)
		require.True(t, jobs.IsPermanent(err), name)
	}
	require.Empty(t, server.all())
}

// None of these may take the worker's memory or its time.
func TestTemplatesCannotRunAway(t *testing.T) {
	t.Parallel()
	kind := kindOf(t, email.Config{SMTPURL: "smtp://127.0.0.1:1", From: sender})
	long, err := json.Marshal(map[string]any{"list": make([]int, 50_000), "text": strings.Repeat("x", 200_000)})
	require.NoError(t, err)
	nested := func(n int) string { return strings.Repeat("{{range $.data.list}}", n) + strings.Repeat("{{end}}", n) }
	for name, source := range map[string]string{
		"endless loop":       `{{range 1000000000000}}{{end}}`,
		"endless output":     `{{range 1000000000000}}0123456789{{end}}`,
		"loops of data":      nested(3),
		"doubling":           `{{$x := "0123456789"}}{{range 100}}{{$x = print $x $x}}{{end}}`,
		"doubling by printf": `{{$x := "0123456789"}}{{range 100}}{{$x = printf "%s%s" $x $x}}{{end}}`,
		"doubling by js":     `{{$x := "\\"}}{{range 100}}{{$x = js $x}}{{end}}`,
		"doubling by json":   `{{$x := "\\"}}{{range 100}}{{$x = json $x}}{{end}}`,
		"doubling by join":   `{{$x := "0123456789"}}{{range 100}}{{$x = join $x .data.list}}{{end}}`,
		"wide":               `{{printf "%1000000d" 1}}`,
		"wide by argument":   `{{printf "%*d" 1000000 1}}`,
		"many verbs":         `{{printf "` + strings.Repeat("%[1]s", 1000) + `" .data.text}}`,
		"many arguments":     `{{print ` + strings.Repeat(".data.text ", 1000) + `}}`,
		"long separators":    `{{join .data.text .data.list}}`,
		"more than a letter": `{{.data.text}}{{.data.text}}{{.data.text}}{{.data.text}}{{.data.text}}{{.data.text}}`,
	} {
		for _, field := range []string{"text", "html"} {
			payload, err := json.Marshal(map[string]any{"to": "a@example.com", "subject": "s", field: source, "data": json.RawMessage(long)})
			require.NoError(t, err)
			start := time.Now()
			mistakes := kind.Check(payload, jobs.Later{})
			require.Less(t, time.Since(start), 10*time.Second, name)
			require.Len(t, mistakes, 1, name)
			require.Equal(t, "/"+field, mistakes[0].Pointer, name)
			require.Less(t, len(mistakes[0].Detail), 500, name)
		}
	}
	for _, source := range []string{nested(9), strings.Repeat(nested(8), 20), `{{define "x"}}{{template "x"}}{{template "x"}}{{end}}`, `{{block "x" .}}{{end}}`} {
		payload, err := json.Marshal(map[string]any{"to": "a@example.com", "subject": "s", "html": source})
		require.NoError(t, err)
		start := time.Now()
		_ = kind.Check(payload, jobs.Later{Event: true})
		require.Less(t, time.Since(start), 10*time.Second)
	}
}

func TestRenderingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	kind := kindOf(t, email.Config{SMTPURL: "smtp://127.0.0.1:1", From: sender})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := kind.Run(ctx, jobOf(`{"to":"a@example.com","subject":"s","text":"{{range 5}}{{end}}"}`, `{}`))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, jobs.IsPermanent(err))
}

func TestEveryMistakeOfAPayloadIsReported(t *testing.T) {
	t.Parallel()
	kind := kindOf(t, email.Config{})
	many, err := json.Marshal(strings.Split(strings.Repeat("a@example.com ", 51), " ")[:51])
	require.NoError(t, err)
	for name, c := range map[string]struct {
		payload   string
		fromEvent bool
		want      []string // pointers
		names     string   // in the first detail
	}{
		"right":                       {payload: plainPayload},
		"right list":                  {payload: `{"to":["a@example.com","B <b@example.com>"],"reply_to":["c@example.com"],"subject":"s","html":"<p>","text":null}`},
		"right of an event":           {payload: `{"to":"{{.data.to}}","subject":"{{.event.type}}","html":"<a href=\"{{.data.url}}\">"}`, fromEvent: true},
		"right with data":             {payload: `{"to":"{{.data.to}}","subject":"s","text":"t","data":{"to":"a@example.com"}}`},
		"absent":                      {payload: ``, want: []string{""}, names: "must be an object"},
		"null":                        {payload: `null`, want: []string{""}},
		"list":                        {payload: `[]`, want: []string{""}},
		"empty":                       {payload: `{}`, want: []string{"/to", "/subject", "/text"}, names: "is required"},
		"empty texts":                 {payload: `{"to":"","subject":"","text":"","html":""}`, want: []string{"/to", "/subject", "/text"}},
		"empty list":                  {payload: `{"to":[],"subject":"s","text":"t"}`, want: []string{"/to"}},
		"wrong types":                 {payload: `{"to":1,"cc":[1],"bcc":{},"reply_to":[null],"from":[],"subject":2,"text":3,"html":false}`, want: []string{"/bcc", "/cc", "/from", "/html", "/reply_to", "/subject", "/text", "/to"}},
		"unknown fields":              {payload: `{"to":"a@example.com","subject":"s","text":"t","body":"b","a/b":1}`, want: []string{"/a~1b", "/body"}, names: "is not a field known here"},
		"syntax":                      {payload: `{"to":"{{","subject":"{{.x","text":"a\n{{nope}}","html":"{{if}}"}`, fromEvent: true, want: []string{"/to", "/subject", "/text", "/html"}, names: "is no template: line 1"},
		"position":                    {payload: `{"to":"a@example.com","subject":"s","text":"a\n{{nope}}"}`, fromEvent: true, want: []string{"/text"}, names: `line 2: function "nope" not defined`},
		"HTML without context":        {payload: `{"to":"a@example.com","subject":"s","html":"<a href=\"{{if .data.x}}x{{else}}\"{{end}}>"}`, fromEvent: true, want: []string{"/html"}, names: "is no template: line 1"},
		"literal addresses":           {payload: `{"to":["a@example.com","nobody","{{.data.x}}"],"cc":"a@b, c@d","from":"x","subject":"s","text":"t"}`, fromEvent: true, want: []string{"/to/1", "/cc", "/from"}, names: "must be one address"},
		"literal addresses by itself": {payload: `{"to":["a@example.com","nobody"],"bcc":"no\r\nbody@example.com","subject":"s","text":"t"}`, want: []string{"/to/1", "/bcc"}},
		"too many recipients":         {payload: `{"to":` + string(many) + `,"subject":"s","text":"t"}`, want: []string{"/to"}, names: "at most 50"},
		"no event":                    {payload: `{"to":"a@example.com","subject":"{{.event.type}}","text":"t","data":{}}`, want: []string{"/subject"}, names: "event"},
		"no data":                     {payload: `{"to":"a@example.com","subject":"s","text":"{{.data.x}}"}`, want: []string{"/text"}, names: "data"},
		"other data":                  {payload: `{"to":"{{.data.to}}","subject":"{{.data.no}}","text":"t","data":{"to":"nobody"}}`, want: []string{"/to", "/subject"}},
		"all at once":                 {payload: `{"to":"nobody","subject":"{{","x":1}`, want: []string{"/x", "/text", "/subject", "/to"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mistakes := kind.Check(json.RawMessage(c.payload), jobs.Later{Event: c.fromEvent})
			var pointers []string
			for _, m := range mistakes {
				require.NotEmpty(t, m.Detail)
				pointers = append(pointers, m.Pointer)
			}
			require.Equal(t, c.want, pointers, "%v", mistakes)
			if c.names != "" {
				require.Contains(t, mistakes[0].Detail, c.names)
			}
		})
	}
}
