package httpapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

type innerThing struct {
	Tenant string `json:"tenant,omitempty"`
	Note   string `json:"note,omitempty"`
}

// Shared is embedded.
type Shared struct {
	Tenant string `json:"tenant,omitempty"`
}

type parcel struct {
	Shared
	Deep   *innerThing  `json:"deep,omitempty"`
	Each   []innerThing `json:"each,omitempty"`
	Filter innerThing   `json:"filter,omitempty"`
	Asked  *string      `json:"note,omitempty"`
	Data   httpapi.JSON `json:"data,omitempty"`
}

type parcels struct {
	Body struct {
		Seen   []parcel `json:"seen,omitempty"`
		Tenant string   `json:"tenant"`
		Kind   string   `json:"kind"`
		Whose  string   `json:"whose"`
		Fault  int      `json:"faults"`
	}
}

// bound serves two operations to callers of tenant t1 whose kind is a.
func bound(t *testing.T) http.Handler {
	t.Helper()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Access: func(_ context.Context, ask httpapi.Ask) (httpapi.Grant, error) {
		switch ask.Token {
		case "":
			return httpapi.Grant{}, nil
		case "t1":
			return httpapi.Grant{Tenant: "t1", Query: map[string]string{"kind": "a"}, Withheld: []string{"note"}}, nil
		}
		return httpapi.Grant{}, fault.New(fault.Unauthorized, "who", "Who are you?")
	}})
	httpapi.Register(api, httpapi.Operation{OperationID: "list", Method: http.MethodGet, Path: "/list", Summary: "s"},
		func(ctx context.Context, in *struct {
			Tenant string `query:"tenant"`
			Kind   string `query:"kind"`
		},
		) (*parcels, error) {
			out := &parcels{}
			out.Body.Tenant, out.Body.Kind, out.Body.Whose = in.Tenant, in.Kind, httpapi.Tenant(ctx)
			return out, nil
		})
	httpapi.RegisterBody(api, httpapi.Operation{OperationID: "create", Method: http.MethodPost, Path: "/create", Summary: "s"}, httpapi.OneOrMany[parcel](),
		func(ctx context.Context, _ *struct{ httpapi.JSONBody }, b httpapi.Batch[parcel]) (*parcels, error) {
			out := &parcels{}
			out.Body.Whose = httpapi.Tenant(ctx)
			for _, item := range b.Items {
				if item.Err() != nil {
					out.Body.Fault++
				} else {
					out.Body.Seen = append(out.Body.Seen, item.Value)
				}
			}
			return out, nil
		})
	return api.Handler()
}

func TestQueriesAreBoundToTheTenant(t *testing.T) {
	t.Parallel()
	h := bound(t)
	for query, want := range map[string]int{
		"": 200, "?tenant=": 200, "?tenant=t1": 200, "?tenant=%741&kind=a": 200, "?kind=": 200, "?&&tenant=t1": 200, "?tena%6et=t1": 200,
		"?tenant=t2": 403, "?tenant=%742": 403, "?tena%6et=t2": 403, "?tenant=t1&tenant=t2": 403, "?tenant=&tenant=t2": 403, "?kind=b": 403, "?tenant=T1": 403,
		"?tenant=t1&tenant=t1": 422, "?tenant=%zz": 422, "?tenant=t2;kind=a": 403, "?;tenant=t2": 422, "?%zz=1": 422,
	} {
		rec := contract.Send(h, http.MethodGet, "/list"+query, "", "Authorization", "Bearer t1")
		require.Equal(t, want, rec.Code, "%s: %s", query, rec.Body)
		if want == 200 {
			require.JSONEq(t, `{"tenant":"t1","kind":"a","whose":"t1","faults":0}`, rec.Body.String(), query)
		}
	}
	require.JSONEq(t, `{"tenant":"t2","kind":"b","whose":"default","faults":0}`, contract.Send(h, http.MethodGet, "/list?tenant=t2&kind=b", "").Body.String())
}

func TestBodiesAreBoundToTheTenant(t *testing.T) {
	t.Parallel()
	h := bound(t)
	send := func(body string) (int, string) {
		rec := contract.Send(h, http.MethodPost, "/create", body, "Authorization", "bearer t1")
		return rec.Code, rec.Body.String()
	}
	status, body := send(`{"deep":{},"each":[{},{"tenant":"t1"}],"data":{"tenant":"t2"}}`)
	require.Equal(t, 200, status, body)
	require.JSONEq(t, `{"tenant":"","kind":"","whose":"t1","faults":0,"seen":[
		{"tenant":"t1","deep":{"tenant":"t1"},"each":[{"tenant":"t1"},{"tenant":"t1"}],"filter":{"tenant":"t1"},"data":{"tenant":"t2"}}]}`, body)
	for _, c := range [][2]string{
		{`{"tenant":"t2"}`, `"/tenant"`},
		{`{"deep":{"tenant":"t2"}}`, `"/deep/tenant"`},
		{`{"each":[{"tenant":"t2"}]}`, `"/each/tenant"`},
		{`{"filter":{"tenant":"t2"}}`, `"/filter/tenant"`},
		{`{"note":"x"}`, `"/note"`},
		{`{"tenant":"t\u0032"}`, `"/tenant"`},
	} {
		status, body := send(c[0])
		require.Equal(t, 403, status, c[0])
		require.Contains(t, body, c[1])
	}
	// An item of an array is refused by itself.
	_, body = send(`[{"tenant":"t2"},{},{"deep":{"tenant":"t2"}}]`)
	require.Contains(t, body, `"faults":2`)
	require.NotContains(t, body, "t2")
}

func TestCredentialsThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	h := bound(t)
	for _, value := range []string{"t1", "Basic t1", "Bearer", "Bearer ", "Bearer t2", "Bearer t1 t1"} {
		rec := contract.Send(h, http.MethodGet, "/list", "", "Authorization", value)
		require.Equal(t, 401, rec.Code, value)
		require.Equal(t, `Bearer realm="SignalStack", error="invalid_token"`, rec.Header().Get("WWW-Authenticate"), value)
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
	}
}
