package httpcall_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/httpcall"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

func kind(t *testing.T) jobs.Kind {
	t.Helper()
	guard, err := outbound.NewGuard(nil, true)
	require.NoError(t, err)
	return httpcall.Kind(guard, outbound.NewClient(guard, "test"))
}

// call is a request as the service saw it.
type call struct {
	method, body string
	header       http.Header
}

func service(t *testing.T, status int) (url string, got *call) {
	t.Helper()
	got = &call{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*got = call{method: r.Method, body: string(body), header: r.Header}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

func TestRequestIsWhatThePayloadSays(t *testing.T) {
	t.Parallel()
	url, got := service(t, 200)
	event := &jobs.Event{ID: uuid.New(), Type: "a", Data: json.RawMessage(`{"b":1,"a":1e400}`)}
	opaque := &jobs.Event{
		ID: uuid.New(), Type: "a", Data: json.RawMessage(`"<a/>"`), Opaque: []byte("<a/>"), CloudEvent: cloudevents.Attributes{ContentType: "text/xml", Opaque: true},
	}
	for _, c := range []struct {
		payload     string
		event       *jobs.Event
		method      string
		body        string
		contentType string
	}{
		{`{"url":"URL"}`, nil, "POST", "", ""},
		{`{"url":"URL"}`, event, "POST", `{"b":1,"a":1e400}`, "application/json"},
		{`{"url":"URL"}`, opaque, "POST", "<a/>", "text/xml"},
		{`{"url":"URL","headers":{"Content-Type":"text/plain"}}`, opaque, "POST", "<a/>", "text/plain"},
		{`{"url":"URL","method":"GET"}`, event, "GET", "", ""},
		{`{"url":"URL","method":"DELETE"}`, event, "DELETE", "", ""},
		{`{"url":"URL","method":"PUT","body":{"z":1,"a":9007199254740993}}`, event, "PUT", `{"z":1,"a":9007199254740993}`, "application/json"},
		{`{"url":"URL","method":"PATCH","body":"a <b>","headers":{"Content-Type":"text/plain"}}`, nil, "PATCH", "a <b>", "text/plain"},
		{`{"url":"URL","body":"text"}`, nil, "POST", `"text"`, "application/json"},
		{`{"url":"URL","body":null}`, event, "POST", "null", "application/json"},
	} {
		payload := json.RawMessage(replaceURL(c.payload, url))
		k := kind(t)
		require.Empty(t, k.Check(payload, jobs.Later{Event: c.event != nil}), c.payload)
		job := jobs.Job{ID: uuid.New(), Payload: payload, Event: c.event}
		_, err := k.Run(t.Context(), job)
		require.NoError(t, err)
		require.Equal(t, c.method, got.method, c.payload)
		require.Equal(t, c.body, got.body, c.payload)
		require.Equal(t, c.contentType, got.header.Get("Content-Type"), c.payload)
		require.Equal(t, job.ID.String(), got.header.Get("Idempotency-Key"))
	}
}

func replaceURL(payload, url string) string {
	var p map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &p); err != nil {
		panic(err)
	}
	p["url"] = json.RawMessage(`"` + url + `"`)
	b, _ := json.Marshal(p)
	return string(b)
}

func TestHeadersAreSentAndKeptOutOfTheRecord(t *testing.T) {
	t.Parallel()
	url, got := service(t, 200)
	payload := json.RawMessage(`{"url":"` + url + `","headers":{"Authorization":"Bearer hunter2","Idempotency-Key":"mine"}}`)
	result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload})
	require.NoError(t, err)
	require.Equal(t, "Bearer hunter2", got.header.Get("Authorization"))
	require.Equal(t, "mine", got.header.Get("Idempotency-Key"))
	require.Equal(t, "****", result.Exchange.RequestHeaders["Authorization"])
}

func TestWhichAnswersAreTriedAgain(t *testing.T) {
	t.Parallel()
	for status, permanent := range map[int]bool{
		301: true, 400: true, 401: true, 404: true, 408: false, 409: false, 410: true, 422: true, 425: false, 429: false, 500: false, 503: false,
	} {
		url, _ := service(t, status)
		result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: json.RawMessage(`{"url":"` + url + `"}`)})
		require.Error(t, err)
		require.Equal(t, permanent, jobs.IsPermanent(err), status)
		require.Equal(t, status, result.Exchange.Status)
	}
}

func TestBadPayloads(t *testing.T) {
	t.Parallel()
	k := kind(t)
	for payload, pointers := range map[string][]string{
		``: {"/url"}, `{}`: {"/url"}, `[]`: {""}, `{"url":""}`: {"/url"}, `{"url":"gopher://x/"}`: {"/url"},
		`{"url":"http://192.168.0.1/","method":"TRACE","extra":1}`:      {"/url", "/method", "/extra"},
		`{"url":"https://x.y/","method":"get"}`:                         {"/method"},
		`{"url":"https://x.y/","headers":{"Content-Length":"1","a":7}}`: {"/headers/Content-Length", "/headers/a"},
	} {
		var found []string
		for _, m := range k.Check(json.RawMessage(payload), jobs.Later{}) {
			found = append(found, m.Pointer)
		}
		require.ElementsMatch(t, pointers, found, payload)
	}
}
