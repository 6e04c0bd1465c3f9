package events_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2"
	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/sealed"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// sent is an event as the SDK sends it.
func sent(t *testing.T, id, contentType string, data any) sdk.Event {
	t.Helper()
	e := sdk.NewEvent()
	e.SetID(id)
	e.SetSource("https://example.com/orders?a=1#x")
	e.SetType("com.example.order.paid")
	e.SetSubject("Euro € 😀 100%")
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
	e.SetDataSchema("https://example.com/order.json")
	e.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	e.SetExtension("sequence", 42)
	e.SetExtension("urgent", true)
	require.NoError(t, e.SetData(contentType, data))
	return e
}

// shown is what GET /events/{id} tells of an event.
func shown(t *testing.T, h http.Handler, id uuid.UUID) (e events.Explained, raw string) {
	t.Helper()
	rec := contract.Send(h, http.MethodGet, "/events/"+id.String(), "")
	return contract.Decode[events.Explained](t, rec, 200), rec.Body.String()
}

func newest(t *testing.T, h http.Handler) events.Listed {
	t.Helper()
	page := contract.Decode[httpapi.Page[events.Listed]](t, contract.Send(h, http.MethodGet, "/events?limit=1", ""), 200)
	require.Len(t, page.Data, 1)
	return page.Data[0]
}

// TestSDKSendsEventsInBothModes has the client of the SDK send to the server over
// HTTP. Extensions have no types in binary mode.
func TestSDKSendsEventsInBothModes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	rule(t, h, `{"subject":[{"prefix":"Euro €"}],"dataschema":[{"suffix":"/order.json"}],"extensions":{"traceparent":[{"prefix":"00-"}]},"data":{"n":[1]}}`)
	client, err := sdk.NewClientHTTP(sdk.WithTarget(server.URL + "/events"))
	require.NoError(t, err)
	for mode, want := range map[string]string{
		"binary":     `{"sequence":"42","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","urgent":"true"}`,
		"structured": `{"sequence":42,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","urgent":true}`,
	} {
		ctx := sdk.WithEncodingBinary(t.Context())
		if mode == "structured" {
			ctx = sdk.WithEncodingStructured(t.Context())
		}
		e := sent(t, mode, sdk.ApplicationJSON, map[string]int{"n": 1})
		for range 2 { // the second is the same event
			result := client.Send(ctx, e)
			require.True(t, sdk.IsACK(result), "%v", result)
		}
		x, _ := shown(t, h, newest(t, h).ID)
		require.Equal(t, mode, x.SenderID)
		require.Equal(t, e.Source(), x.Source)
		require.Equal(t, e.Type(), x.Type)
		require.Equal(t, e.Subject(), x.Subject)
		require.True(t, e.Time().Equal(x.Time))
		require.Equal(t, e.DataContentType(), x.ContentType)
		require.Equal(t, e.DataSchema(), x.DataSchema)
		require.JSONEq(t, want, string(x.Extensions))
		require.JSONEq(t, `{"n":1}`, string(x.Data))
		require.Len(t, x.Jobs, 1, "the rule matches it")
	}
	require.Equal(t, 2, count(t, db, "events"))
}

func TestSDKSendsABatch(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	server := httptest.NewServer(serve(t, db))
	t.Cleanup(server.Close)
	req, err := sdk.NewHTTPRequestFromEvents(t.Context(), server.URL+"/events", []sdk.Event{
		sent(t, "1", sdk.ApplicationJSON, 1), sent(t, "2", sdk.TextPlain, "two"), sent(t, "1", sdk.ApplicationJSON, 1),
	})
	require.NoError(t, err)
	resp, err := server.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 201, resp.StatusCode)
	var list answer
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&list))
	require.Equal(t, []int{201, 201, 201}, list.statuses())
	require.Equal(t, list.Data[0].ID, list.Data[2].ID)
	require.Equal(t, 2, count(t, db, "events"))
}

// TestSDKReceivesWhatItSent sends an event by HTTP, with data of every sort, and has
// workers deliver it to endpoints of both forms, which the SDK reads.
func TestSDKReceivesWhatItSent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	guard, err := outbound.NewGuard(nil, true)
	require.NoError(t, err)
	box, err := sealed.New(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	require.NoError(t, err)
	endpoints := &webhooks.Endpoints{DB: db, Box: box, Guard: guard}
	registry := jobs.NewRegistry(webhooks.Kind(endpoints, outbound.NewClient(guard, "test")))
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	acceptor := events.NewAcceptor(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 500}, registry, slog.New(slog.DiscardHandler))
	acceptor.Routes(api)
	endpoints.Routes(api)
	runner := jobs.NewRunner(jobs.RunnerConfig{
		Queues: map[string]int{"default": 10}, Lease: 10 * time.Second, Poll: 50 * time.Millisecond, FullPass: time.Second, Grace: 10 * time.Second,
	}, db, db, registry, slog.New(slog.DiscardHandler))
	run(t, func(ctx context.Context) { acceptor.Run(ctx) })
	run(t, func(ctx context.Context) { _ = runner.Run(ctx) })
	h := contract.Handler(t, api)

	type delivery struct {
		event  sdk.Event
		header http.Header
		body   []byte
	}
	got := map[string]chan delivery{}
	for _, format := range []string{"cloudevents-binary", "cloudevents-structured", "standard"} {
		came := make(chan delivery, 10)
		got[format] = came
		secret := make(chan string, 1)
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d := delivery{header: r.Header}
			d.body, _ = io.ReadAll(r.Body)
			key := <-secret
			secret <- key
			verifier, err := standardwebhooks.NewWebhook(key)
			if err == nil {
				err = verifier.Verify(d.body, r.Header)
			}
			if err == nil && format != "standard" {
				r.Body = io.NopCloser(bytes.NewReader(d.body))
				var e *sdk.Event
				if e, err = sdk.NewEventFromHTTPRequest(r); err == nil {
					d.event = *e
					err = e.Validate()
				}
			}
			if err != nil {
				t.Errorf("%s: %v: %v %s", format, err, r.Header, d.body)
			}
			came <- d
		}))
		t.Cleanup(receiver.Close)
		made := contract.Decode[webhooks.Endpoint](t, contract.Send(h, http.MethodPost, "/endpoints",
			`{"url":"`+receiver.URL+`","event_types":["*"],"format":"`+format+`"}`), 201)
		require.Equal(t, format, made.Format)
		secret <- made.Secret
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	client, err := sdk.NewClientHTTP(sdk.WithTarget(server.URL + "/events"))
	require.NoError(t, err)
	for contentType, c := range map[string]struct {
		data     any
		standard string
	}{
		"application/json":         {map[string]string{"a": "é"}, `"data":{"a":"é"}`},
		"text/plain":               {"plain <text>\n", `"data":"plain <text>\n"`},
		"application/xml":          {[]byte(`<a b="c"/>`), `"data":"<a b=\"c\"/>"`},
		"application/octet-stream": {[]byte{0, 1, 0xff}, `"data_base64":"AAH/"`},
	} {
		want := sent(t, contentType, contentType, c.data)
		if text, ok := c.data.(string); ok {
			want.DataEncoded = []byte(text)
		}
		if contentType == "application/json" {
			want.DataEncoded = []byte(`{"a":"é"}`)
		}
		result := client.Send(sdk.WithEncodingStructured(t.Context()), want)
		require.True(t, sdk.IsACK(result), "%v", result)
		for format, came := range got {
			var d delivery
			select {
			case d = <-came:
			case <-time.After(30 * time.Second):
				require.Fail(t, "nothing was delivered", format)
			}
			if format == "standard" {
				require.Contains(t, string(d.body), c.standard)
				continue
			}
			name := fmt.Sprintf("%s %s: %s", format, contentType, d.body)
			require.Equal(t, string(want.Data()), string(d.event.Data()), name)
			require.Equal(t, want.ID(), d.event.ID(), name)
			require.Equal(t, want.Source(), d.event.Source(), name)
			require.Equal(t, want.Type(), d.event.Type(), name)
			subject := d.event.Subject()
			if format == "cloudevents-binary" { // the SDK leaves headers as they are
				subject, err = url.PathUnescape(subject)
				require.NoError(t, err)
			}
			require.Equal(t, want.Subject(), subject, name)
			require.True(t, want.Time().Equal(d.event.Time()), name)
			require.Equal(t, want.DataContentType(), d.event.DataContentType(), name)
			require.Equal(t, want.DataSchema(), d.event.DataSchema(), name)
			for extension, value := range want.Extensions() {
				require.Equal(t, fmt.Sprint(value), fmt.Sprint(d.event.Extensions()[extension]), name)
			}
			structured := strings.HasPrefix(d.header.Get("Content-Type"), "application/cloudevents+json")
			require.Equal(t, format == "cloudevents-structured", structured, name)
		}
	}
	// An event of our own form is a CloudEvent too.
	rec := contract.Send(h, http.MethodPost, "/events", `{"type":"plain","source":"my shop"}`)
	plain := contract.Decode[events.Event](t, rec, 201)
	for format, came := range got {
		d := <-came
		if format != "standard" {
			require.Equal(t, plain.ID.String(), d.event.ID())
			source := strings.ReplaceAll(d.event.Source(), "%25", "%") // as above
			require.Equal(t, "my%20shop", source)
			require.Empty(t, d.event.Data())
		}
	}
}

// run runs something until the test ends.
func run(t *testing.T, loop func(context.Context)) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { loop(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
}

const (
	structured = "application/cloudevents+json; charset=UTF-8"
	batch      = "application/cloudevents-batch+json"
)

func TestCloudEventsThatAreWrong(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	required := []string{"Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t", "Ce-Specversion", "1.0"}
	for _, c := range []struct {
		name    string
		header  []string
		body    string
		status  int
		pointer string
	}{
		{"other format", []string{"Content-Type", "application/cloudevents+avro"}, `x`, 415, ""},
		{"no format", []string{"Content-Type", "application/cloudevents"}, `{}`, 415, ""},
		{"other batch format", []string{"Content-Type", "Application/CloudEvents-Batch+XML"}, `x`, 415, ""},
		{"other charset", []string{"Content-Type", "application/cloudevents+json; charset=latin1"}, `{}`, 415, ""},
		{"gzip", append([]string{"Content-Type", "text/plain", "Content-Encoding", "gzip"}, required...), `x`, 415, ""},
		{"version", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"0.3"}`, 400, "/specversion"},
		{"header version", append(required[:6:6], "Ce-Specversion", "2.0"), `1`, 400, "/header/ce-specversion"},
		{"no JSON", []string{"Content-Type", structured}, `{`, 400, ""},
		{"no body", []string{"Content-Type", structured}, ``, 400, ""},
		{"JSON data that is none", append([]string{"Content-Type", "application/json"}, required...), `{`, 400, ""},
		{"no object", []string{"Content-Type", structured}, `[]`, 422, ""},
		{"no batch", []string{"Content-Type", batch}, `{}`, 422, ""},
		{"missing id", []string{"Content-Type", structured}, `{"id":null,"source":"/s","type":"t","specversion":"1.0"}`, 422, "/id"},
		{"empty type", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"","specversion":"1.0"}`, 422, "/type"},
		{"missing headers", []string{"Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t"}, `1`, 422, "/header/ce-specversion"},
		{"header content type", append([]string{"Ce-Datacontenttype", "text/plain"}, required...), `1`, 422, "/header/ce-datacontenttype"},
		{"over-long UTF-8", append([]string{"Ce-Subject", "%C0%A0"}, required...), `1`, 422, "/header/ce-subject"},
		{"header name", append([]string{"Ce-My-Ext", "1"}, required...), `1`, 422, "/header/ce-my-ext"},
		{"member name", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","myExt":1}`, 422, "/myExt"},
		{"twice", []string{"Content-Type", structured}, `{"id":"1","id":"1","source":"/s","type":"t","specversion":"1.0"}`, 422, "/id"},
		{"fraction", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","n":1.5}`, 422, "/n"},
		{"33 bits", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","n":2147483648}`, 422, "/n"},
		{"object", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","o":{}}`, 422, "/o"},
		{"number as type", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":7,"specversion":"1.0"}`, 422, "/type"},
		{"time", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","time":"noon"}`, 422, "/time"},
		{"relative schema", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","dataschema":"x.json"}`, 422, "/dataschema"},
		{"media type", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","datacontenttype":"/"}`, 422, "/datacontenttype"},
		{"both data", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","data":1,"data_base64":"AA=="}`, 422, "/data_base64"},
		{"base64", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","data_base64":"A"}`, 422, "/data_base64"},
		{"text data", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","datacontenttype":"text/xml","data":{}}`, 422, "/data"},
		{"long type", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"` + strings.Repeat("x", 256) + `","specversion":"1.0"}`, 422, "/type"},
		{"tenant", []string{"Content-Type", structured}, `{"id":"1","source":"/s","type":"t","specversion":"1.0","tenant":"../x"}`, 422, "/tenant"},
		{"form", []string{"Content-Type", "text/plain"}, `{"type":"a"}`, 415, ""},
	} {
		rec := contract.Send(h, http.MethodPost, "/events", c.body, c.header...)
		p := contract.Decode[httpapi.Problem](t, rec, c.status)
		if c.pointer != "" {
			require.Len(t, p.Errors, 1, "%s: %+v", c.name, p)
			require.Equal(t, c.pointer, p.Errors[0].Pointer, c.name)
		}
		if strings.Contains(c.name, "format") {
			require.Contains(t, p.Detail, "application/cloudevents+json", c.name)
		}
	}
	require.Zero(t, count(t, db, "events"))
}

func TestCloudEventsThatAreRight(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	rule(t, h, `{"data":["Hé \u0001"]}`)
	rule(t, h, `{"extensions":{"gone":[{"exists":false}],"n":[{"numeric":["<",0]}]}}`)
	for _, c := range []struct {
		name         string
		header       []string
		body         string
		want, absent string // of what is shown
		jobs         int
	}{
		{
			"binary mode of any type, quotes, one round of decoding", []string{
				"Content-Type", "Text/Plain; charset=utf-8", "Ce-Id", `"a \"b\" \\ c"`, "Ce-Source", "/s%2525", "Ce-Type", "Euro%20%e2%82%ac%20%F0%9F%98%80", "Ce-Specversion", "1.0", "Ce-Ext", "%41",
			}, "Hé \x01", `"type":"Euro € 😀","source":"/s%25","sender_id":"a \"b\" \\ c"`, "base64", 1,
		},
		{
			"null attributes are absent, headers beside a body are not looked at",
			[]string{"Content-Type", structured, "Ce-Id", "other", "Ce-Specversion", "0.1"},
			`{"id":"1","source":"/s","type":"t","specversion":"1.0","subject":null,"gone":null,"n":-2147483648,"b":false,"data_base64":null}`,
			`"extensions":{"b":false,"n":-2147483648}`, `"data`, 1,
		},
		{
			"a JSON string stays one", []string{"Content-Type", structured}, `{"id":"3","source":"/s","type":"t","specversion":"1.0","data":"{\"a\":1}"}`, `"data":"{\"a\":1}"`, "base64", 0,
		},
		{
			"bytes of data are kept",
			[]string{"Content-Type", structured},
			`{"id":"4","source":"/s","type":"t","specversion":"1.0","data":  {"z":1,"z":1e400, "n":"\u0000"} }`,
			`"data":{"z":1,"z":1e400, "n":"\u0000"}`, "base64", 0,
		},
		{
			"base64 is no JSON unless it says so",
			[]string{"Content-Type", structured},
			`{"id":"5","source":"/s","type":"t","specversion":"1.0","data_base64":"eyJhIjoxfQ=="}`,
			`"data":"{\"a\":1}"`, "content", 0,
		},
		{
			"base64 of declared JSON",
			[]string{"Content-Type", structured},
			`{"id":"6","source":"/s","type":"t","specversion":"1.0","datacontenttype":"application/x+json","data_base64":"eyJhIjoxfQ=="}`,
			`"data":{"a":1}`, "base64", 0,
		},
		{
			"base64 of bytes",
			[]string{"Content-Type", structured},
			`{"id":"7","source":"/s","type":"t","specversion":"1.0","datacontenttype":"application/json","data_base64":"/wA="}`,
			`"data_base64":"/wA="`, `"data":`, 0,
		},
		{
			"the tenant is an extension",
			[]string{"Content-Type", structured},
			`{"id":"8","source":"/s","type":"t","specversion":"1.0","tenant":"acme"}`,
			`"tenant":"acme"`, "base64", 0,
		},
		{
			"no body and no type", []string{"Content-Type", "", "Ce-Id", "9", "Ce-Source", "s", "Ce-Type", "t", "Ce-Specversion", "1.0"}, "", `"sender_id":"9"`, `"data`, 0,
		},
	} {
		rec := contract.Send(h, http.MethodPost, "/events", c.body, c.header...)
		e := contract.Decode[events.Event](t, rec, 201)
		require.Len(t, e.JobIDs, c.jobs, c.name)
		_, raw := shown(t, h, e.ID)
		about, _, _ := strings.Cut(raw, `"rules":`)
		_, data, _ := strings.Cut(raw, `"rules":`)
		if i := strings.LastIndex(data, `,"data`); i >= 0 {
			about += data[i:]
		}
		require.Contains(t, raw, c.want, c.name)
		require.NotContains(t, about, c.absent, c.name)
	}
}

func TestDataThatAreNullAreThere(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	rule(t, h, `{"data":[null]}`)
	for data, want := range map[string]int{``: 0, `,"data":null`: 1} {
		e := contract.Decode[events.Event](t, contract.Send(h, http.MethodPost, "/events",
			`{"id":"a`+data[:min(1, len(data))]+`","source":"/s","type":"null","specversion":"1.0"`+data+`}`, "Content-Type", structured), 201)
		require.Len(t, e.JobIDs, want)
	}
	require.Equal(t, 1, count(t, db, `events WHERE data = 'null'`))
	require.Equal(t, 1, count(t, db, `events WHERE data IS NULL`))
}

func TestBatchOfCloudEventsIsAnsweredItemByItem(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	body := `[{"id":"1","source":"/s","type":"t","specversion":"1.0"},{"id":"2","source":"/s","type":"t","specversion":"0.3"},` +
		`{"id":"3","source":"/s","specversion":"1.0"},7,{"id":"1","source":"/other","type":"t","specversion":"1.0"}]`
	send := func(path, body string, header ...string) *httptest.ResponseRecorder {
		return contract.Send(h, http.MethodPost, path, body, append(header, "Content-Type", batch)...)
	}
	p := contract.Decode[httpapi.Problem](t, send("/events?atomic=true", body), 422)
	require.Len(t, p.Errors, 3)
	require.Zero(t, count(t, db, "events"))
	rec := send("/events", body, "Idempotency-Key", "k")
	list := contract.Decode[answer](t, rec, http.StatusMultiStatus)
	require.Equal(t, []int{201, 400, 422, 422, 201}, list.statuses())
	require.Equal(t, "/1/specversion", list.Data[1].Error.Errors[0].Pointer)
	require.Equal(t, "/2/type", list.Data[2].Error.Errors[0].Pointer)
	require.Equal(t, rec.Body.String(), send("/events", body, "Idempotency-Key", "k").Body.String())
	require.JSONEq(t, `{"data":[]}`, send("/events", `[]`).Body.String(), "an empty batch is legal")
	require.Equal(t, 2, count(t, db, "events"))
	many := "[" + strings.TrimSuffix(strings.Repeat(`{"id":"1","source":"/s","type":"t","specversion":"1.0"},`, 1001), ",") + "]"
	require.Equal(t, 422, send("/events", many).Code)
}

// TestSourceAndIDAreOneEvent sends it in every form. The time and the extensions may
// differ, as those between write their own.
func TestSourceAndIDAreOneEvent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	header := []string{"Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t", "Ce-Specversion", "1.0", "Ce-Traceparent", "b", "Content-Type", "application/json"}
	first := contract.Send(h, http.MethodPost, "/events", `{"id":"1","source":"/s","type":"t","specversion":"1.0","data":{"a": 1},"traceparent":"a"}`, "Content-Type", structured)
	require.Equal(t, 201, first.Code, first.Body)
	for _, again := range []*httptest.ResponseRecorder{
		contract.Send(h, http.MethodPost, "/events", `{"a":1}`, header...),
		contract.Send(h, http.MethodPost, "/events", `{"type":"t","source":"/s","id":"1","data":{"a":1},"time":"2026-01-01T00:00:00Z"}`),
		contract.Send(h, http.MethodPost, "/events", `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1},"time":"2026-01-01T00:00:00Z"}`, "Content-Type", structured),
	} {
		require.Equal(t, 201, again.Code, again.Body)
		require.Equal(t, first.Body.String(), again.Body.String())
		require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	}
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events", `{"a":2}`, header...).Code, "another event has that id")
	require.Equal(t, 1, count(t, db, "events"))

	// A key of the request covers the headers of binary mode too.
	keyed := append([]string{"Idempotency-Key", "k"}, header...)
	keyed[3] = "2"
	made := contract.Send(h, http.MethodPost, "/events", `1`, keyed...)
	require.Equal(t, 201, made.Code, made.Body)
	require.Equal(t, made.Body.String(), contract.Send(h, http.MethodPost, "/events", `1`, keyed...).Body.String())
	keyed[3] = "3"
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events", `1`, keyed...).Code)
}

func TestPatternsAreTriedOnExtensions(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	rule(t, h, `{"extensions":{"region":["eu"]},"datacontenttype":["text/plain"]}`)
	e := contract.Decode[events.Event](t, contract.Send(h, http.MethodPost, "/events",
		`{"id":"1","source":"/s","type":"t","specversion":"1.0","region":"us","datacontenttype":"text/plain","data":"x"}`, "Content-Type", structured), 201)
	require.Empty(t, e.JobIDs)
	x, _ := shown(t, h, e.ID)
	require.Len(t, x.Rules, 1)
	require.Equal(t, []rules.Field{
		{Path: "/extensions/region", At: "/extensions/region", Value: httpapi.JSON(`"us"`), Reason: `is not "eu"`},
		{Path: "/datacontenttype", Matched: true, At: "/datacontenttype", Value: httpapi.JSON(`"text/plain"`), Reason: "is in the list"},
	}, x.Rules[0].Fields)

	why := contract.Decode[rules.Explanation](t, contract.Send(h, http.MethodPost, "/rules/test",
		`{"pattern":{"extensions":{"region":["us"]},"data":["x"]},"event":{"id":"1","source":"/s","type":"t","specversion":"1.0","region":"us","datacontenttype":"text/plain","data":"x"}}`), 200)
	require.True(t, why.Matched, "%+v", why)
	p := contract.Decode[httpapi.Problem](t, contract.Send(h, http.MethodPost, "/rules/test",
		`{"pattern":{"type":["t"]},"event":{"id":"1","source":"/s","type":"t","specversion":"0.3"}}`), 422)
	require.Equal(t, "/event/specversion", p.Errors[0].Pointer)
	p = contract.Decode[httpapi.Problem](t, contract.Send(h, http.MethodPost, "/events", `{"id":"1","source":"/s","type":"t","specversion":"1.0"}`), 422)
	require.Contains(t, p.Errors[0].Detail, "application/cloudevents+json", "the mend is the Content-Type")
}
