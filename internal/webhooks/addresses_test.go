package webhooks_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/forbidden"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// setting is what every refusal names: whoever reads it may run the server.
const setting = "SIGNALSTACK_ALLOW_NETWORKS"

// refusal sends a body and gives what is said of its URL.
func (b *bundle) refusal(t *testing.T, method, path, pointer string, body map[string]any) string {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	rec := contract.Send(b.bare, method, path, string(text))
	require.Equal(t, http.StatusUnprocessableEntity, rec.Code, "%s %s: %s", method, text, rec.Body)
	var p httpapi.Problem
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
	require.Len(t, p.Errors, 1, "%s %s: %s", method, text, rec.Body)
	require.Equal(t, pointer, p.Errors[0].Pointer)
	return p.Errors[0].Detail
}

// TestAddressesAreRefusedAlikeWhereverTheyAreGiven goes through all special addresses: an
// endpoint with one cannot be made, none can be changed to it, and where it stands in the
// database nevertheless (it was allowed once), nothing is delivered.
func TestAddressesAreRefusedAlikeWhereverTheyAreGiven(t *testing.T) {
	t.Parallel()
	b := startWith(t, false)
	e := b.create(t, "https://example.com/", "")
	path := "/endpoints/" + e.ID.String()
	for i, host := range forbidden.Hosts() {
		url := "http://" + host + ":9/hooks"
		made := b.refusal(t, http.MethodPost, "/endpoints", "/url", map[string]any{"url": url})
		require.Contains(t, made, setting, host)
		require.Equal(t, made, b.refusal(t, http.MethodPatch, path, "/url", map[string]any{"url": url}), host)
		if i%5 == 0 { // they are checked by the same function
			token := map[string]any{"type": "oauth2", "token_url": url, "client_id": "a", "client_secret": "b"}
			require.Equal(t, made, b.refusal(t, http.MethodPost, "/endpoints", "/auth/token_url", map[string]any{"url": "https://example.com/", "auth": token}), host)
			require.Equal(t, made, b.refusal(t, http.MethodPatch, path, "/auth/token_url", map[string]any{"auth": token}), host)
		}

		_, err := b.db.ExecContext(t.Context(), `UPDATE signalstack.endpoints SET url = $2 WHERE id = $1`, e.ID, url)
		require.NoError(t, err)
		result, err := b.kind.Run(t.Context(), b.job(e.ID, "1"))
		require.True(t, jobs.IsPermanent(err), "%s: %v", host, err)
		require.ErrorContains(t, err, setting, host)
		require.Equal(t, outbound.ClassBlocked, result.Exchange.ErrorClass, host)
		require.Zero(t, result.Exchange.Status)
	}
}

// TestTokensAreNotFetchedFromSpecialAddresses has a token URL that was allowed once.
func TestTokensAreNotFetchedFromSpecialAddresses(t *testing.T) {
	t.Parallel()
	allowed := start(t)
	url, got := receiver(t, http.StatusOK)
	e := allowed.create(t, "https://example.com/", `,"auth":{"type":"oauth2","token_url":"`+url+`","client_id":"a","client_secret":"b"}`)
	guard, err := outbound.NewGuard(nil, false)
	require.NoError(t, err)
	strict := &webhooks.Endpoints{DB: allowed.db, Box: allowed.endpoints.Box, Guard: guard, Log: allowed.endpoints.Log}
	_, err = webhooks.Kind(strict, outbound.NewClient(guard, "test")).Run(t.Context(), allowed.job(e.ID, "1"))
	require.ErrorContains(t, err, setting)
	require.Empty(t, *got)
}

// TestNetworksThatAreAllowedAreAllowedAlike gives one network and one host.
func TestNetworksThatAreAllowedAreAllowedAlike(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, http.StatusOK) // on 127.0.0.1
	b := startWith(t, false, "127.0.0.0/8", "internal.example")
	e := b.create(t, url, "")
	require.NoError(t, b.attempt(t, e.ID))
	require.Len(t, *got, 1)
	b.endpoint(t, http.StatusOK, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"url":"http://internal.example/"}`)
	require.Contains(t, b.refusal(t, http.MethodPatch, "/endpoints/"+e.ID.String(), "/url", map[string]any{"url": "http://10.0.0.1/"}), setting)
}
