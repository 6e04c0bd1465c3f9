package webhooks_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/webhooks"
)

func (b *bundle) try(t *testing.T, id uuid.UUID, body string) webhooks.Trial {
	t.Helper()
	return contract.Decode[webhooks.Trial](t, b.send(http.MethodPost, "/endpoints/"+id.String()+"/test", body), 200)
}

func TestTestWebhookIsSentAsAnyOther(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusAccepted)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints",
		`{"url":"`+url+`","enabled":false,"headers":{"X-Own":"s3cr3t"},"auth":{"type":"bearer","token":"t0ken"}}`)
	trial := b.try(t, e.ID, "")
	require.True(t, trial.Delivered)
	require.Empty(t, trial.Error)
	require.Equal(t, "endpoint.test", trial.Type)
	require.Equal(t, 202, trial.Exchange.Status)
	require.Equal(t, "****", trial.Exchange.RequestHeaders["X-Own"])
	require.Equal(t, "****", trial.Exchange.RequestHeaders["Authorization"])
	require.Equal(t, "****", trial.Exchange.RequestHeaders["Webhook-Signature"])
	require.Contains(t, trial.Exchange.RequestBody, "test of your endpoint")
	require.Positive(t, trial.Exchange.Timings.Total)
	require.Len(t, *got, 1)
	verifier, err := standardwebhooks.NewWebhook(e.Secret)
	require.NoError(t, err)
	sent := (*got)[0]
	require.NoError(t, verifier.Verify(sent.body, sent.header))
	require.Equal(t, trial.WebhookID.String(), sent.header.Get("webhook-id"))
	require.Equal(t, "true", sent.header.Get("webhook-test"))
	require.Equal(t, "s3cr3t", sent.header.Get("x-own"))
	require.Equal(t, "Bearer t0ken", sent.header.Get("authorization"))
	require.Equal(t, trial.Exchange.RequestBody, string(sent.body))
	require.Contains(t, string(sent.body), `"type":"endpoint.test"`)

	// In the endpoint's format, with a type and data of the caller's.
	b.endpoint(t, 200, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"format":"cloudevents-binary"}`)
	require.True(t, b.try(t, e.ID, `{"type":"a.b","data":{"n":1.0}}`).Delivered)
	sent = (*got)[1]
	require.Equal(t, "a.b", sent.header.Get("ce-type"))
	require.Equal(t, `{"n":1.0}`, string(sent.body))
	var jobs int
	require.NoError(t, b.db.GetContext(t.Context(), &jobs, `SELECT count(*) FROM signalstack.jobs`))
	require.Zero(t, jobs)
}

func TestTestWebhookHasTheExampleOfItsType(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, 200)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`"}`)
	_, err := b.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.event_types (tenant, type, description, mode, created_at, updated_at)
		SELECT tenant, 'a', '', 'warn', now(), now() FROM unnest(ARRAY['default', 'acme']) AS tenant`)
	require.NoError(t, err)
	_, err = b.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.event_type_versions (tenant, type, version, id, schema, example, created_at)
		VALUES ('default', 'a', 1, gen_random_uuid(), '{}', '{"v": 1}', now()), ('default', 'a', 2, gen_random_uuid(), '{}', '{"v": 2}', now()),
		       ('default', 'a', 3, gen_random_uuid(), '{}', NULL, now()), ('acme', 'a', 1, gen_random_uuid(), '{}', '"theirs"', now())`)
	require.NoError(t, err)
	data := func() string {
		var body struct{ Data json.RawMessage }
		require.NoError(t, json.Unmarshal((*got)[len(*got)-1].body, &body))
		return string(body.Data)
	}
	b.try(t, e.ID, `{"type":"a"}`)
	require.Equal(t, `{"v": 2}`, data())
	_, err = b.db.ExecContext(t.Context(), `UPDATE signalstack.event_types SET enforced = 1`)
	require.NoError(t, err)
	b.try(t, e.ID, `{"type":"a"}`)
	require.Equal(t, `{"v": 1}`, data())
	b.try(t, e.ID, `{"type":"a","data":null}`)
	require.Equal(t, `null`, data())
}

func TestTestWebhookTellsWhatWentWrong(t *testing.T) {
	t.Parallel()
	b := start(t)
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/hang":
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		case "/redirect":
			http.Redirect(w, r, "http://10.0.0.1/", http.StatusFound)
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/long":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	for path, want := range map[string]struct {
		status int
		class  string
		text   string
	}{
		"/hang": {0, outbound.ClassTimeout, "took too long"}, "/redirect": {302, "", "redirects are not followed"},
		"/gone": {410, "", "410 Gone"}, "/long": {500, "", "500 Internal"},
	} {
		e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+server.URL+path+`","timeout":"1s"}`)
		for range 6 { // more than would open the breaker
			trial := b.try(t, e.ID, "{}")
			require.False(t, trial.Delivered)
			require.Contains(t, trial.Error, want.text)
			require.Equal(t, want.status, trial.Exchange.Status)
			require.Equal(t, want.class, trial.Exchange.ErrorClass)
			require.LessOrEqual(t, len(trial.Exchange.Body), 16<<10)
			if path == "/hang" {
				break // which takes its time
			}
		}
		require.Equal(t, path == "/long", len(b.try(t, e.ID, "").Exchange.Body) > 0)
		after := b.endpoint(t, 200, http.MethodGet, "/endpoints/"+e.ID.String(), "")
		require.True(t, after.Enabled)
		require.Equal(t, "healthy", after.Health.State)
	}
}

func TestTestWebhookIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, 200)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`"}`)
	path := "/endpoints/" + e.ID.String() + "/test"
	for body, want := range map[string]string{
		`{"type":" "}`: "/type", `{"type":"a\n"}`: "/type", `{"type":7}`: "/type", `{"date":1}`: "/date",
	} {
		rec := b.send(http.MethodPost, path, body)
		require.Equal(t, 422, rec.Code, body)
		require.Contains(t, rec.Body.String(), `"pointer":"`+want+`"`)
	}
	require.Equal(t, 404, b.send(http.MethodPost, "/endpoints/"+uuid.NewString()+"/test", "").Code)
	require.Equal(t, 422, b.send(http.MethodPost, "/endpoints/x/test", "").Code)
	// Addresses that were allowed when the endpoint was made, by number and by a name.
	strict, err := outbound.NewGuard(nil, false)
	require.NoError(t, err)
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	(&webhooks.Endpoints{DB: b.db, Box: b.endpoints.Box, Guard: strict, Client: outbound.NewClient(strict, "test"), Log: slog.New(slog.DiscardHandler)}).Routes(api)
	handler := contract.Handler(t, api)
	for _, address := range []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1)} {
		_, err = b.db.ExecContext(t.Context(), `UPDATE signalstack.endpoints SET url = $1`, address)
		require.NoError(t, err)
		problem := contract.Decode[httpapi.Problem](t, contract.Send(handler, http.MethodPost, path, ""), 422)
		require.Equal(t, "address_refused", problem.Code)
		require.Contains(t, problem.Errors[0].Detail, "SIGNALSTACK_ALLOW_NETWORKS")
	}
	require.Empty(t, *got)
}

// TestTestWebhookIsRefusedWhereTheNameLeads has a name of which the text says nothing.
func TestTestWebhookIsRefusedWhereTheNameLeads(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, 200)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`"}`)
	lenient, err := outbound.NewGuard(nil, true)
	require.NoError(t, err)
	strict, err := outbound.NewGuard(nil, false)
	require.NoError(t, err)
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	(&webhooks.Endpoints{DB: b.db, Box: b.endpoints.Box, Guard: lenient, Client: outbound.NewClient(strict, "test"), Log: slog.New(slog.DiscardHandler)}).Routes(api)
	rec := contract.Send(contract.Handler(t, api), http.MethodPost, "/endpoints/"+e.ID.String()+"/test", "")
	problem := contract.Decode[httpapi.Problem](t, rec, 422)
	require.Equal(t, "address_refused", problem.Code)
	require.Contains(t, problem.Errors[0].Detail, "SIGNALSTACK_ALLOW_NETWORKS")
	require.Empty(t, *got)
}
