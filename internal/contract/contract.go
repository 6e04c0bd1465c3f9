package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/httpapi"
)

// The validating library reads the bodies of CloudEvents as JSON, and leaves those of
// binary mode, which are any bytes, as they are.
var readers = sync.OnceFunc(func() {
	for _, media := range []string{"application/cloudevents+json", "application/cloudevents-batch+json"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.RegisteredBodyDecoder("application/json"))
	}
})

// Load gives the API's document as an independent library reads and validates it.
func Load(t testing.TB, api *httpapi.API) *openapi3.T {
	t.Helper()
	raw, err := json.Marshal(api.OpenAPI())
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(context.Background()), "the document is not valid OpenAPI")
	require.Equal(t, "3.1.0", doc.OpenAPI)
	return doc
}

// Send answers a JSON request; header holds names and values in turn.
func Send(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

// Decode reads an answer that must have the status.
func Decode[T any](t testing.TB, rec *httptest.ResponseRecorder, status int) T {
	t.Helper()
	require.Equal(t, status, rec.Code, rec.Body)
	var v T
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &v))
	return v
}

// Handler serves the API and checks each exchange against its document. All
// routes must have been registered.
func Handler(t testing.TB, api *httpapi.API) http.Handler {
	t.Helper()
	readers()
	router, err := gorillamux.NewRouter(Load(t, api))
	require.NoError(t, err)
	next := api.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read request: %v", err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err := check(router, r, rec, body); err != nil {
			t.Errorf("%s %s answered %d against the contract: %v\nrequest: %.2000s\nanswer: %.2000s", r.Method, r.URL, rec.Code, err, body, rec.Body)
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

func check(router routers.Router, r *http.Request, rec *httptest.ResponseRecorder, body []byte) error {
	if r.Method == http.MethodHead { // is served by GET, and not listed
		r = r.Clone(r.Context())
		r.Method = http.MethodGet
	}
	route, params, err := router.FindRoute(r)
	if err != nil {
		if rec.Code == http.StatusNotFound || rec.Code == http.StatusMethodNotAllowed {
			return nil
		}
		return err
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, MultiError: true, ExcludeRequestBody: beyondFloat64(body) || isOpaque(r.Header),
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, // who may do what is not for a schema to say
		},
	}
	// Of a request that was accepted in part, the rest may be anything.
	if rec.Code < 300 && rec.Code != http.StatusMultiStatus {
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			return errors.Join(errors.New("the document forbids a request that was accepted"), err)
		}
	}
	return openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: rec.Code, Header: rec.Header(),
		Body:    io.NopCloser(bytes.NewReader(rec.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: beyondFloat64(rec.Body.Bytes())},
	})
}

// isOpaque says that a body is the data of a CloudEvent in binary mode.
func isOpaque(h http.Header) bool {
	return h.Get("Ce-Specversion") != "" && !strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "application/cloudevents")
}

// beyondFloat64 says that the validating library, which parses into float64,
// cannot read a text that JSON allows.
func beyondFloat64(text []byte) bool {
	return json.Valid(text) && json.Unmarshal(text, new(any)) != nil
}
