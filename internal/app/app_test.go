package app

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// newAPI builds the whole API as the serve role does.
func newAPI(t *testing.T) *httpapi.API {
	t.Helper()
	cfg, err := config.Load(nil, map[string]string{"DATABASE_URL": pgtest.URL(t)})
	require.NoError(t, err)
	a, err := open(Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Version: "test", Serve: true})
	require.NoError(t, err)
	t.Cleanup(a.close)
	in := intake.Config{KeyTTL: time.Hour, MaxWaiting: 1}
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: a.log, Fault: pg.Fault})
	a.routes(api, events.NewAcceptor(a.db, in, a.kinds, a.log), &jobs.API{DB: a.db, Kinds: a.kinds, Intake: jobs.NewIntake(a.db, in)})
	return api
}

// parameter is a part of a path as the router writes it.
var parameter = regexp.MustCompile(`:(\w+)`)

// TestRoutesAndDocumentAgree walks the routes against the document, both ways.
func TestRoutesAndDocumentAgree(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	// These serve the document itself.
	served := map[string]bool{}
	for _, r := range api.Echo().Routes() {
		if !strings.HasPrefix(r.Path, "/openapi") {
			served[r.Method+" "+parameter.ReplaceAllString(r.Path, "{$1}")] = true
		}
	}
	documented := map[string]bool{}
	for path, item := range contract.Load(t, api).Paths.Map() {
		for method, op := range item.Operations() {
			documented[method+" "+path] = true
			require.NotEmpty(t, op.OperationID)
			require.NotEmpty(t, op.Summary, op.OperationID)
		}
	}
	require.Equal(t, documented, served)
	for _, fixed := range []string{
		"GET /health", "POST /events", "POST /jobs", "GET /jobs", "GET /jobs/{id}", "GET /analytics/summary", "GET /analytics/timeseries",
	} {
		require.True(t, documented[fixed], fixed)
	}
}

// TestDocumentIsServed asks for the document as a client does.
func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	newAPI(t).Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	require.Equal(t, 200, rec.Code)
	require.Contains(t, rec.Body.String(), `"openapi":"3.1.0"`)
}

func TestUnknownRoutesAndMethodsAreProblems(t *testing.T) {
	t.Parallel()
	handler := newAPI(t).Handler()
	for request, want := range map[string]int{
		"GET /nowhere": 404, "GET /jobs/": 404, "DELETE /events": 405, "PUT /jobs": 405, "PATCH /health": 405, "POST /analytics/summary": 405, "GET //jobs": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(method, "http://x"+path, nil))
		require.Equal(t, want, rec.Code, request)
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"), request)
		require.Equal(t, want == 405, rec.Header().Get("Allow") != "", request)
	}
}

func TestHealthOfAProcessThatIsWell(t *testing.T) {
	t.Parallel()
	handler := contract.Handler(t, newAPI(t))
	for _, path := range []string{"/health", "/readyz", "/livez"} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.Header.Set("X-Request-Id", "mine-1")
		handler.ServeHTTP(rec, req)
		require.Equal(t, 200, rec.Code, rec.Body)
		require.Contains(t, rec.Body.String(), `"status":"ok"`)
		require.Equal(t, "mine-1", rec.Header().Get("X-Request-Id"))
	}
}

func TestHealthSaysWhyItIsNot(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(nil, map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:1/x?sslmode=disable"})
	require.NoError(t, err)
	a, err := open(Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Serve: true})
	require.NoError(t, err)
	defer a.close()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1, Log: a.log, Fault: pg.Fault})
	a.healthRoutes(api)
	for path, status := range map[string]int{"/health": 503, "/readyz": 503, "/livez": 200} {
		rec := httptest.NewRecorder()
		contract.Handler(t, api).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, status, rec.Code, path)
		require.Equal(t, status == 503, rec.Header().Get("Retry-After") != "", path)
	}
}

func TestKindsOfTheTableOfContents(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(nil, map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:1/x"})
	require.NoError(t, err)
	a, err := open(Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Work: true})
	require.NoError(t, err)
	defer a.close()
	names := slices.Sorted(slices.Values(a.kinds.Names()))
	require.Equal(t, []string{"email", "external", "http", "log", "webhook"}, names)
}

func TestLocalURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080": "http://127.0.0.1:8080", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://127.0.0.1:1", "10.0.0.1:80": "http://10.0.0.1:80",
		"[::1]:9": "http://[::1]:9", "": "http://127.0.0.1:8080",
	} {
		require.Equal(t, want, LocalURL(addr), addr)
	}
}

// TestOtherSecretKeyIsRefusedAtTheStart starts on a database whose only secrets are
// those of a source.
func TestOtherSecretKeyIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	process := func(first string) *App {
		key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(first, 32)))
		cfg, err := config.Load(nil, map[string]string{"DATABASE_URL": dsn, "SIGNALSTACK_SECRET_KEY": key})
		require.NoError(t, err)
		a, err := open(Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Serve: true})
		require.NoError(t, err)
		t.Cleanup(a.close)
		return a
	}
	a := process("a")
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: a.log, Fault: pg.Fault})
	a.sources.Routes(api, nil)
	rec := contract.Send(api.Handler(), http.MethodPost, "/sources", `{"name":"n","kind":"github","secrets":[{"secret":"s"}]}`)
	require.Equal(t, 201, rec.Code, rec.Body)
	require.NoError(t, a.awaitSchema(t.Context()))
	require.ErrorContains(t, process("b").awaitSchema(t.Context()), "SIGNALSTACK_SECRET_KEY is not the key that the secrets of sources")
}
