package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

type thing struct {
	Name string       `json:"name" minLength:"1"`
	Size int          `json:"size,omitempty" minimum:"0"`
	Tags []string     `json:"tags,omitempty" maxItems:"1"`
	At   string       `json:"at,omitempty"`
	Data httpapi.JSON `json:"data,omitempty"`
}

func (t thing) Validate() []fault.Detail {
	_, wrong := httpapi.ParseTime("/at", t.At)
	return append(wrong, httpapi.CheckText("/name", t.Name, 10)...)
}

type thingOut struct{ Body thing }

type findIn struct {
	Name  string       `query:"name"`
	ID    string       `query:"id" format:"uuid"`
	Limit int          `query:"limit" minimum:"1" default:"5"`
	At    httpapi.Time `query:"at"`
	Key   string       `header:"X-Key"`
}

// server answers POST /things with what it decoded.
func server(t *testing.T) http.Handler { return newAPI(t).Handler() }

func newAPI(t *testing.T) *httpapi.API {
	t.Helper()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 4096, Log: slog.New(slog.DiscardHandler)})
	httpapi.RegisterBody(api, httpapi.Operation{OperationID: "make", Method: http.MethodPost, Path: "/things"},
		httpapi.One[thing](), func(_ context.Context, _ *struct{ httpapi.JSONBody }, in thing) (*thingOut, error) {
			return &thingOut{Body: in}, nil
		})
	httpapi.RegisterBody(api, httpapi.Operation{OperationID: "make-many", Method: http.MethodPost, Path: "/many"},
		httpapi.OneOrMany[thing](), func(_ context.Context, _ *struct{ httpapi.JSONBody }, in httpapi.Batch[thing]) (*struct{}, error) {
			for i := range in.Items {
				if err := in.Items[i].Err(); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
	httpapi.Register(api, httpapi.Operation{OperationID: "fail", Method: http.MethodGet, Path: "/fail/{how}"},
		func(_ context.Context, in *struct {
			How string `path:"how"`
		},
		) (*struct{}, error) {
			switch in.How {
			case "panic":
				panic("secret")
			case "away":
				return nil, fault.Away(errors.New("secret"), 1500*time.Millisecond)
			}
			return nil, errors.New("secret")
		})
	httpapi.Register(api, httpapi.Operation{OperationID: "find", Method: http.MethodGet, Path: "/found"},
		func(_ context.Context, in *findIn) (*thingOut, error) {
			return &thingOut{Body: thing{Name: in.Name, Size: in.Limit, At: in.At.Text()}}, nil
		})
	httpapi.Register(api, httpapi.Operation{OperationID: "unwritable", Method: http.MethodGet, Path: "/unwritable"},
		func(context.Context, *struct{}) (*struct{ Body time.Time }, error) {
			return &struct{ Body time.Time }{Body: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, nil
		})
	return api
}

func TestDocumentAllowsNoNull(t *testing.T) {
	t.Parallel()
	doc, err := json.Marshal(newAPI(t).OpenAPI())
	require.NoError(t, err)
	require.Contains(t, string(doc), `"tags":`)
	require.NotContains(t, string(doc), `"null"`)
}

func do(t *testing.T, h http.Handler, method, path, body string, header ...string) (*httptest.ResponseRecorder, httpapi.Problem) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	var p httpapi.Problem
	if rec.Code >= 400 {
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"), rec.Body)
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		require.Equal(t, rec.Code, p.Status)
		require.NotEmpty(t, p.Code)
		require.Equal(t, rec.Header().Get("X-Request-Id"), p.RequestID)
	}
	return rec, p
}

func pointers(p httpapi.Problem) []string {
	var all []string
	for _, e := range p.Errors {
		all = append(all, e.Pointer)
	}
	return all
}

func TestParametersThatWouldBeIgnoredAreRefused(t *testing.T) {
	t.Parallel()
	h := server(t)
	for query, want := range map[string][]string{
		"bogus=1":              {"/query/bogus"},
		"Name=a":               {"/query/Name"},
		"name=a;b":             {"/query/name"},
		"name=%zz":             {"/query/name"},
		"%zz":                  {"/query/%zz"},
		"name=a&name=b":        {"/query/name"},
		"name=%00":             {"/query/name"},
		"name=%ff":             {"/query/name"},
		"a%2Fb=1&%ff":          {"/query/a~1b", "/query/\ufffd"},
		"name=%00&limit=x&b":   {"/query/name", "/query/limit", "/query/b"},
		"limit=0":              {"/query/limit"},
		"at=2026-01-01":        {"/query/at"},
		"at=0000-01-01T00:00Z": {"/query/at"},
		"id=7":                 {"/query/id"},
		"id=urn:uuid:00000000-0000-0000-0000-000000000000": {"/query/id"},
		"name=" + strings.Repeat("x", 1001):                {"/query/name"},
	} {
		rec, p := do(t, h, http.MethodGet, "/found?"+query, "")
		require.Equal(t, 422, rec.Code, "%s: %s", query, rec.Body)
		require.Equal(t, "invalid_parameter", p.Code)
		require.ElementsMatch(t, want, pointers(p), "%s: %s", query, rec.Body)
	}
	for _, query := range []string{"", "name=", "&&name=a&", "name=%C3%A9&limit=7", "limit=&at="} {
		rec, _ := do(t, h, http.MethodGet, "/found?"+query, "")
		require.Equal(t, 200, rec.Code, "%s: %s", query, rec.Body)
	}
	rec, _ := do(t, h, http.MethodGet, "/found?at=0001-01-01T00:00:00Z", "")
	require.Contains(t, rec.Body.String(), "0001-01-01T00:00:00Z", "any time may be asked for")
	rec, p := do(t, h, http.MethodGet, "/found", "", "X-Key", " ")
	require.Equal(t, 422, rec.Code)
	require.Equal(t, []string{"/header/X-Key"}, pointers(p))
	rec, p = do(t, h, http.MethodPost, "/things?dry=1", `{"name":"a"}`)
	require.Equal(t, 422, rec.Code)
	require.Equal(t, []string{"/query/dry"}, pointers(p))
}

func TestMessagesSayWhatAValueMustBe(t *testing.T) {
	t.Parallel()
	h := server(t)
	for body, want := range map[string]string{
		`{"name":7}`:                           "must be a text",
		`{"name":null}`:                        "must be a text, not null",
		`{"name":""}`:                          "must have at least 1 character",
		`{}`:                                   "is required",
		`{"name":"a","size":-1}`:               "must be at least 0",
		`{"name":"a","size":2.0}`:              "must be a whole number, without a fraction or exponent",
		`{"name":"a","tags":"b"}`:              "must be an array",
		`{"name":"a","tags":["b","c"]}`:        "must have at most 1 item",
		`{"name":"a","x":1}`:                   "is not a field known here; remove it",
		`{"name":"a","at":"2026-01-31 09:30"}`: "must be an RFC 3339 time such as 2026-01-31T09:30:00Z or 2026-01-31T11:30:00+02:00",
	} {
		_, p := do(t, h, http.MethodPost, "/things", body)
		require.Len(t, p.Errors, 1, body)
		require.Equal(t, want, p.Errors[0].Detail, body)
	}
	for query, want := range map[string]string{
		"limit=x": "must be a whole number",
		"id=7":    "must be a UUID such as",
		"at=x":    "must be an RFC 3339 time such as 2026-01-31T09:30:00Z or 2026-01-31T11:30:00+02:00; in a URL write + as %2B",
		"b=1":     "the parameters are name, id, limit, at",
	} {
		_, p := do(t, h, http.MethodGet, "/found?"+query, "")
		require.Len(t, p.Errors, 1, query)
		require.Contains(t, p.Errors[0].Detail, want, query)
	}
	_, p := do(t, h, http.MethodPost, "/things", `{"name":"a","data":"`+strings.Repeat("x", 4096)+`"}`)
	require.Contains(t, p.Detail, "4096 bytes")
	require.Contains(t, p.Detail, "SIGNALSTACK_MAX_BODY")
}

func TestAnswerThatCannotBeWrittenIsAProblem(t *testing.T) {
	t.Parallel()
	rec, p := do(t, server(t), http.MethodGet, "/unwritable", "")
	require.Equal(t, 500, rec.Code, rec.Body)
	require.Equal(t, "internal", p.Code)
}

func TestOnlyPlainJSONIsTakenAsABody(t *testing.T) {
	t.Parallel()
	h := server(t)
	for _, header := range [][]string{
		{"Content-Type", ""},
		{"Content-Type", "text/plain"},
		{"Content-Type", "application/x-www-form-urlencoded"},
		{"Content-Encoding", "gzip"},
	} {
		rec, p := do(t, h, http.MethodPost, "/things", `{"name":"a"}`, header...)
		require.Equal(t, 415, rec.Code, "%v: %s", header, rec.Body)
		require.Contains(t, p.Detail, "; send ", "%v", header)
	}
	rec, _ := do(t, h, http.MethodPost, "/things", `{"name":"a"}`, "Content-Type", "Application/JSON; charset=utf-8", "Content-Encoding", "identity")
	require.Equal(t, 200, rec.Code, rec.Body)
}

func TestPagesOfOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	h := server(t)
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		rec, p := do(t, h, http.MethodPost, "/things", `{"name":"a"}`, header...)
		require.Equal(t, 403, rec.Code, "%v: %s", header, rec.Body)
		require.Equal(t, "cross_site_request", p.Code)
		rec, _ = do(t, h, http.MethodGet, "/found", "", header...)
		require.Equal(t, 200, rec.Code, "%v: %s", header, rec.Body)
	}
	for _, header := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://example.com"}, {"Origin", "https://example.com"}} {
		rec, _ := do(t, h, http.MethodPost, "/things", `{"name":"a"}`, header...)
		require.Equal(t, 200, rec.Code, "%v: %s", header, rec.Body)
	}
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(server(t))
	t.Cleanup(s.Close)
	for path, status := range map[string]int{"/found": 200, "/found?x=1": 422, "/nowhere": 404, "/things": 405} {
		resp, err := s.Client().Head(s.URL + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode, path)
		require.Empty(t, body, path)
	}
}

func TestBodyIsDecodedStrictly(t *testing.T) {
	t.Parallel()
	h := server(t)
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for _, c := range []struct {
		name, body string
		status     int
		pointers   []string
	}{
		{"not JSON", `{"name":`, 400, nil},
		{"two values", `{"name":"a"} {}`, 400, nil},
		{"empty", ` `, 400, []string{""}},
		{"no body", ``, 400, []string{""}},
		{"invalid UTF-8", "{\"name\":\"\xff\"}", 400, nil},
		{"too deep", `{"name":"a","data":` + deep[:4000] + `}`, 400, nil},
		{"too large", `{"name":"a","data":"` + strings.Repeat("x", 4096) + `"}`, 413, nil},
		{"not an object", `"name"`, 422, []string{""}},
		{"null", `null`, 422, []string{""}},
		{"missing field", `{}`, 422, []string{"/name"}},
		{"empty field", `{"name":""}`, 422, []string{"/name"}},
		{"null field", `{"name":null}`, 422, []string{"/name"}},
		{"null in a field that may be absent", `{"name":"a","size":null,"tags":null}`, 422, []string{"/size", "/tags"}},
		{"null inside", `{"name":"a","tags":[null]}`, 422, []string{"/tags/0"}},
		{"a list and its items", `{"name":"a","tags":["b",7]}`, 422, []string{"/tags", "/tags/1"}},
		{"whole number with a fraction", `{"name":"a","size":2.0}`, 422, []string{"/size"}},
		{"wrong type", `{"name":7}`, 422, []string{"/name"}},
		{"wrong case", `{"Name":"a"}`, 422, []string{"/Name", "/name"}},
		{"unknown field", `{"name":"a","nome":"b"}`, 422, []string{"/nome"}},
		{"duplicate field", `{"name":"a","name":"b"}`, 422, []string{"/name"}},
		{"control character", `{"name":"a\u0000"}`, 422, []string{"/name"}},
		{"number beyond float64", `{"name":"a","size":1e400}`, 422, []string{"/size"}},
		{"all at once", `{"size":-1,"at":"yesterday","x":1}`, 422, []string{"/name", "/size", "/at", "/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec, p := do(t, h, http.MethodPost, "/things", c.body)
			require.Equal(t, c.status, rec.Code, rec.Body)
			var pointers []string
			for _, e := range p.Errors {
				require.NotEmpty(t, e.Detail)
				pointers = append(pointers, e.Pointer)
			}
			require.ElementsMatch(t, c.pointers, pointers, rec.Body)
		})
	}
}

func TestFreeFormFieldKeepsItsBytes(t *testing.T) {
	t.Parallel()
	data := `{"b":1e400,"a":9007199254740993,"a":"\u0000","é":"<&>"}`
	rec, _ := do(t, server(t), http.MethodPost, "/things", `{"name":"a","data":`+data+`}`)
	require.Equal(t, http.StatusOK, rec.Code, rec.Body)
	require.Contains(t, rec.Body.String(), `"data":`+data)
}

// TestItemsOfAnArrayAreCheckedByThemselves: /many refuses by its first bad item.
func TestItemsOfAnArrayAreCheckedByThemselves(t *testing.T) {
	t.Parallel()
	h := server(t)
	for body, want := range map[string][]string{`[{"name":"a"},{"size":"x"},7]`: {"/name", "/size"}, `[{"name":"a"},7]`: {""}} {
		_, p := do(t, h, http.MethodPost, "/many", body)
		var pointers []string
		for _, e := range p.Errors {
			pointers = append(pointers, e.Pointer)
		}
		require.ElementsMatch(t, want, pointers, "pointers start at the item")
	}
	rec, _ := do(t, h, http.MethodPost, "/many", `[]`)
	require.Equal(t, 422, rec.Code)
}

func TestEveryFailureIsAProblem(t *testing.T) {
	t.Parallel()
	h := server(t)
	rec, _ := do(t, h, http.MethodGet, "/nowhere", "")
	require.Equal(t, 404, rec.Code)
	rec, _ = do(t, h, http.MethodDelete, "/things", "")
	require.Equal(t, 405, rec.Code)
	require.Contains(t, rec.Header().Get("Allow"), "POST")
	rec, _ = do(t, h, http.MethodPost, "/things", "<a/>", "Content-Type", "application/xml")
	require.Equal(t, 415, rec.Code)
	for _, how := range []string{"panic", "other"} {
		rec, _ = do(t, h, http.MethodGet, "/fail/"+how, "")
		require.Equal(t, 500, rec.Code)
		require.NotContains(t, rec.Body.String(), "secret")
	}
	rec, p := do(t, h, http.MethodGet, "/fail/away", "")
	require.Equal(t, 503, rec.Code)
	require.Equal(t, "2", rec.Header().Get("Retry-After"))
	require.Equal(t, "database_unavailable", p.Code)
	require.NotContains(t, rec.Body.String(), "secret")
	require.Equal(t, "The database does not answer. Try again.", p.Detail)
}

func TestRequestIDIsTakenOrMade(t *testing.T) {
	t.Parallel()
	h := server(t)
	rec, _ := do(t, h, http.MethodGet, "/nowhere", "", "X-Request-Id", "abc-1")
	require.Equal(t, "abc-1", rec.Header().Get("X-Request-Id"))
	rec, _ = do(t, h, http.MethodGet, "/nowhere", "", "X-Request-Id", "with space")
	require.Len(t, rec.Header().Get("X-Request-Id"), 36)
}

func TestCursorFitsOnlyItsList(t *testing.T) {
	t.Parallel()
	list := httpapi.List{Path: "/jobs", Filters: map[string]string{"state": "failed"}}
	page := httpapi.NewPage([]string{"a", "b", "c"}, 2, list, func(s string) string { return s })
	require.Equal(t, []string{"a", "b"}, page.Body.Data)
	require.Contains(t, page.Link, `rel="next"`)
	require.Contains(t, page.Link, "state=failed")
	key, err := list.Key(page.Body.NextCursor)
	require.NoError(t, err)
	require.Equal(t, "b", key)

	require.Equal(t, "/query/cursor", invalidCursor(t, list).Details[0].Pointer)

	other := httpapi.List{Path: "/jobs", Filters: map[string]string{"state": "pending"}}
	flipped := []byte(page.Body.NextCursor)
	flipped[len(flipped)-3] ^= 1
	for name, bad := range map[string]struct {
		list   httpapi.List
		cursor string
	}{"other filters": {other, page.Body.NextCursor}, "flipped bit": {list, string(flipped)}, "noise": {list, "%%%"}, "short": {list, "AA"}} {
		_, err := bad.list.Key(bad.cursor)
		require.Error(t, err, name)
		require.Equal(t, fault.Malformed, fault.As(err).Kind)
	}
	last := httpapi.NewPage([]string{"a"}, 2, list, func(s string) string { return s })
	require.Empty(t, last.Body.NextCursor)
	require.Empty(t, last.Link)
}

func invalidCursor(t *testing.T, list httpapi.List) *fault.Error {
	t.Helper()
	_, err := list.Key("AA")
	require.Error(t, err)
	return fault.As(err)
}

type rawIn struct {
	httpapi.RawRequest
	ID string `path:"id" format:"uuid"`
}

type rawOut struct {
	Body struct {
		Sent  string `json:"sent"`
		Event string `json:"event"`
	}
}

// TestRawOperationSeesTheRequestAsItWasSent takes any media type, and refuses what
// every operation refuses.
func TestRawOperationSeesTheRequestAsItWasSent(t *testing.T) {
	t.Parallel()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 64, Log: slog.New(slog.DiscardHandler)})
	httpapi.RegisterRaw(api, httpapi.Operation{OperationID: "raw", Method: http.MethodPost, Path: "/raw/{id}"},
		func(_ context.Context, _ *rawIn, h http.Header, body []byte) (*rawOut, error) {
			out := &rawOut{}
			out.Body.Sent, out.Body.Event = string(body), h.Get("X-Event")
			return out, nil
		})
	const id = "/raw/5f0c7a52-3d5e-4f0e-9d7b-8a3b4c1d2e6f"
	for _, media := range []string{"", "application/json", "application/x-www-form-urlencoded", "text/plain; charset=latin1"} {
		req := httptest.NewRequest(http.MethodPost, id, strings.NewReader(" {]\n"))
		req.Header.Set("Content-Type", media)
		req.Header.Set("X-Event", "push")
		rec := httptest.NewRecorder()
		api.Handler().ServeHTTP(rec, req)
		require.Equal(t, 200, rec.Code, rec.Body)
		require.JSONEq(t, `{"sent":" {]\n","event":"push"}`, rec.Body.String())
	}
	for _, c := range []struct {
		path, body, coding string
		status             int
	}{
		{id, strings.Repeat("a", 64), "", 200},
		{id, strings.Repeat("a", 65), "", 413},
		{id, "", "", 400},
		{id, "a", "gzip", 415},
		{id + "?a=b", "a", "", 422},
		{"/raw/1", "a", "", 422},
	} {
		req := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body))
		req.Header.Set("Content-Encoding", c.coding)
		rec := httptest.NewRecorder()
		api.Handler().ServeHTTP(rec, req)
		require.Equal(t, c.status, rec.Code, rec.Body)
	}
}
