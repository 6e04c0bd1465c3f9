package httpcall_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
)

func TestExpectedStatusesAreSuccess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expected           string
		status             int
		success, permanent bool
	}{
		{`[200]`, 200, true, false},
		{`[200]`, 202, false, false},
		{`["2xx",404]`, 404, true, false},
		{`["200-204"]`, 204, true, false},
		{`["200-204"]`, 205, false, false},
		{`["3xx"]`, 302, true, false},
		{`[404]`, 200, false, false},
		{`[404]`, 400, false, true},
		{`[404]`, 503, false, false},
		{`["5xx"]`, 503, true, false},
		{`["201"]`, 201, true, false},
	} {
		url, _ := service(t, c.status)
		payload := json.RawMessage(`{"url":"` + url + `","expected_status":` + c.expected + `}`)
		require.Empty(t, kind(t).Check(payload, jobs.Later{}))
		result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload})
		require.Equal(t, c.success, err == nil, "%v: %v", c, err)
		require.Equal(t, c.permanent, jobs.IsPermanent(err), "%v", c)
		require.Equal(t, c.status, result.Exchange.Status)
	}
}

func TestResultIsWhatThePathsFind(t *testing.T) {
	t.Parallel()
	const body = `{"data":{"id":9007199254740993,"price":1.50,"tags":["<a>","b"],"none":null},"items":[{"id":1},{"id":2},{}]}`
	for _, c := range []struct{ body, result, want string }{
		{body, `"$.body.data.id"`, `9007199254740993`},
		{body, `{"id":"$.body.data.id","status":"$.status","at":"$.headers.location","type":"$['headers']['content-type']"}`, `{"at":"/things/7","id":9007199254740993,"status":201,"type":"text/x-test"}`},
		{body, `{"ids":"$.body.items[*].id","last":"$.body.items[-1]","price":"$.body.data.price","tag":"$.body.data.tags[0]"}`, `{"ids":[1,2],"last":{},"price":1.50,"tag":"<a>"}`},
		{body, `{"all":"$..id","gone":"$.body.nothing","none":"$.body.data.none","empty":"$.body.nothing[*]","some":"$.body.items[0:1]"}`, ""},
		{"plain text", `"$.body"`, `"plain text"`},
		{"", `"$.body"`, `null`},
		{"\xff\xfe", `"$.body"`, `null`},
		{`{"a":1} {"b":2}`, `"$.body.a"`, `null`},
		{`[1,2]`, `"$.body[1]"`, `2`},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/things/7")
			w.Header().Set("Content-Type", "text/x-test")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(c.body))
		}))
		t.Cleanup(server.Close)
		payload := json.RawMessage(`{"url":"` + server.URL + `","result":` + c.result + `}`)
		require.Empty(t, kind(t).Check(payload, jobs.Later{}))
		result, err := kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload})
		require.NoError(t, err)
		if c.want != "" {
			require.Equal(t, c.want, string(result.Value), c.result)
			continue
		}
		var got map[string]any
		require.NoError(t, json.Unmarshal(result.Value, &got))
		require.ElementsMatch(t, []any{9007199254740992.0, 1.0, 2.0}, got["all"])
		require.Equal(t, map[string]any{"all": got["all"], "gone": nil, "none": nil, "empty": []any{}, "some": []any{map[string]any{"id": 1.0}}}, got)
	}
}

// answer serves one body and counts the requests.
func answer(t *testing.T, write func(http.ResponseWriter)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(w) }))
	t.Cleanup(server.Close)
	return server.URL
}

func TestResponsesThatGiveNoResult(t *testing.T) {
	t.Parallel()
	large := answer(t, func(w http.ResponseWriter) { _, _ = w.Write([]byte(`"` + strings.Repeat("x", 1<<20) + `"`)) })
	run := func(url, result string) (jobs.Result, error) {
		return kind(t).Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: json.RawMessage(`{"url":"` + url + `","result":` + result + `}`)})
	}
	result, err := run(large, `"$.status"`)
	require.ErrorContains(t, err, "too large")
	require.True(t, jobs.IsPermanent(err), "the next attempt would do the work again")
	require.Equal(t, 200, result.Exchange.Status)
	require.Len(t, result.Exchange.Body, 16<<10)
	require.True(t, result.Exchange.Truncated)

	broken := answer(t, func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"id":1`))
	})
	_, err = run(broken, `"$.body.id"`)
	require.ErrorContains(t, err, "read the response")
	require.False(t, jobs.IsPermanent(err), "the job's id is its Idempotency-Key")

	refusing := answer(t, func(w http.ResponseWriter) { w.WriteHeader(500); _, _ = w.Write([]byte(`{"id":1}`)) })
	result, err = run(refusing, `"$.body.id"`)
	require.Error(t, err)
	require.Nil(t, result.Value)

	// Each list is found with all within it, 40 MB together.
	deep := answer(t, func(w http.ResponseWriter) {
		_, _ = w.Write([]byte(strings.Repeat("[", 9000) + strings.Repeat("]", 9000)))
	})
	_, err = run(deep, `{"a":"$..[0]"}`)
	require.ErrorContains(t, err, "larger than 65536 bytes")
	require.True(t, jobs.IsPermanent(err))
}
