package contract

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/httpapi"
)

type out struct {
	Body struct {
		State string `json:"state" enum:"on,off"`
	}
}

// TestBreachIsFound keeps the checker honest: an answer outside the document must
// not pass.
func TestBreachIsFound(t *testing.T) {
	t.Parallel()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 100, Log: slog.New(slog.DiscardHandler)})
	httpapi.Register(api, httpapi.Operation{OperationID: "get", Method: http.MethodGet, Path: "/state/{is}"},
		func(_ context.Context, in *struct {
			Is string `path:"is"`
		},
		) (*out, error) {
			o := &out{}
			o.Body.State = in.Is
			return o, nil
		})
	router, err := gorillamux.NewRouter(Load(t, api))
	require.NoError(t, err)
	for is, right := range map[string]bool{"on": true, "broken": false} {
		req, rec := httptest.NewRequest(http.MethodGet, "/state/"+is, strings.NewReader("")), httptest.NewRecorder()
		api.Handler().ServeHTTP(rec, req)
		err := check(router, req, rec, nil)
		require.Equal(t, right, err == nil, "%s: %v", is, err)
	}
}
