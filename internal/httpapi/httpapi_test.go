package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
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
	At   string       `json:"at,omitempty"`
	Data httpapi.JSON `json:"data,omitempty"`
}

func (t thing) Validate() []fault.Detail {
	_, wrong := httpapi.ParseTime("/at", t.At)
	return append(wrong, httpapi.CheckText("/name", t.Name, 10)...)
}

type thingOut struct{ Body thing }

// server answers POST /things with what it decoded.
func server(t *testing.T) http.Handler {
	t.Helper()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 4096, Log: slog.New(slog.DiscardHandler)})
	httpapi.RegisterBody(api, httpapi.Operation{OperationID: "make", Method: http.MethodPost, Path: "/things"},
		httpapi.One[thing](), func(_ context.Context, _ *struct{ httpapi.JSONBody }, in thing) (*thingOut, error) {
			return &thingOut{Body: in}, nil
		})
	httpapi.RegisterBody(api, httpapi.Operation{OperationID: "make-many", Method: http.MethodPost, Path: "/many"},
		httpapi.OneOrMany[thing](), func(_ context.Context, _ *struct{ httpapi.JSONBody }, in httpapi.Batch[thing]) (*struct{}, error) {
			if m := in.Mistakes(); len(m) > 0 {
				return nil, fault.InvalidBody(m)
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
	return api.Handler()
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
		{"empty", ` `, 400, nil},
		{"invalid UTF-8", "{\"name\":\"\xff\"}", 400, nil},
		{"too deep", `{"name":"a","data":` + deep[:4000] + `}`, 400, nil},
		{"too large", `{"name":"a","data":"` + strings.Repeat("x", 4096) + `"}`, 413, nil},
		{"not an object", `"name"`, 422, []string{""}},
		{"null", `null`, 422, []string{""}},
		{"missing field", `{}`, 422, []string{"/name"}},
		{"empty field", `{"name":""}`, 422, []string{"/name"}},
		{"null field", `{"name":null}`, 422, []string{"/name"}},
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

func TestArrayNamesTheItemOfEachMistake(t *testing.T) {
	t.Parallel()
	h := server(t)
	_, p := do(t, h, http.MethodPost, "/many", `[{"name":"a"},{"size":"x"},7]`)
	var pointers []string
	for _, e := range p.Errors {
		pointers = append(pointers, e.Pointer)
	}
	require.ElementsMatch(t, []string{"/1/name", "/1/size", "/2"}, pointers)
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
	page := httpapi.NewPage([]string{"a", "b", "c"}, 2, list, func(s string) []string { return []string{s} })
	require.Equal(t, []string{"a", "b"}, page.Body.Data)
	require.Contains(t, page.Link, `rel="next"`)
	require.Contains(t, page.Link, "state=failed")
	key, err := list.Key(page.Body.NextCursor, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, key)

	other := httpapi.List{Path: "/jobs", Filters: map[string]string{"state": "pending"}}
	flipped := []byte(page.Body.NextCursor)
	flipped[len(flipped)-3] ^= 1
	for name, bad := range map[string]struct {
		list   httpapi.List
		cursor string
	}{"other filters": {other, page.Body.NextCursor}, "flipped bit": {list, string(flipped)}, "noise": {list, "%%%"}, "short": {list, "AA"}} {
		_, err := bad.list.Key(bad.cursor, 1)
		require.Error(t, err, name)
		require.Equal(t, fault.Malformed, fault.As(err).Kind)
	}
	last := httpapi.NewPage([]string{"a"}, 2, list, func(s string) []string { return []string{s} })
	require.Empty(t, last.Body.NextCursor)
	require.Empty(t, last.Link)
}
