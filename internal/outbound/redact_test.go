package outbound_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/outbound"
)

func TestSecretsAreNotOnRecord(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	var got http.Header
	var query, body string
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, query, body = r.Header, r.URL.RawQuery, string(b)
		w.Header()["Set-Cookie"] = []string{"sid=" + secret}
		w.Header().Set("X-Api-Key", secret)
		w.Header().Set("X-Amz-Security-Token", secret)
		w.Header().Set("Location", "https://x.example/cb?state=1&code="+secret+"#access_token="+secret)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "r-1")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"access_token":"`+secret+`\"`+secret+`", "code":"E42","tokens":7,"nested":{"clientSecret" : "`+secret+`"},"password":"`+secret)
	})
	header := http.Header{"Authorization": {"Bearer " + secret}, "Cookie": {secret}, "X-Api-Key": {secret}, "X-Own": {secret}, "X-Trace": {"t-1"}, "Idempotency-Key": {"k-1"}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := outbound.NewClient(guard(t, true), "test")
	sent := `{"user":{"api_key":"` + secret + `"},"name":"n-1"}`
	_, exchange, err := client.Do(ctx, outbound.Request{
		Method: http.MethodPost, URL: url + "/in?a=1&token=" + secret + "&%61pi-key=" + secret + "&b=%20", Header: header, Body: []byte(sent), Hidden: []string{"x-own"},
	})
	require.NoError(t, err)
	record, err := json.Marshal(exchange)
	require.NoError(t, err)
	require.NotContains(t, string(record), secret)
	require.Equal(t, url+"/in?a=1&token=****&%61pi-key=****&b=%20", exchange.URL)
	require.Equal(t, "https://x.example/cb?state=1&code=****#access_token=****", exchange.Headers["Location"])
	require.Equal(t, "r-1", exchange.Headers["X-Request-Id"])
	require.Equal(t, "t-1", exchange.RequestHeaders["X-Trace"])
	require.Equal(t, "k-1", exchange.RequestHeaders["Idempotency-Key"])
	require.Equal(t, "****", exchange.RequestHeaders["X-Own"])
	require.Equal(t, `{"user":{"api_key":"****"},"name":"n-1"}`, exchange.RequestBody)                                                      //nolint:testifylint // the bytes are meant
	require.Equal(t, `{"access_token":"****", "code":"E42","tokens":7,"nested":{"clientSecret" : "****"},"password":"****"`, exchange.Body) //nolint:testifylint // it is cut off, so no JSON
	// What was sent is whole.
	require.Equal(t, "Bearer "+secret, got.Get("Authorization"))
	require.Equal(t, sent, body)
	require.Equal(t, 2, strings.Count(query, secret))
}

func TestSecretsAreNotInErrors(t *testing.T) {
	t.Parallel()
	client := outbound.NewClient(guard(t, true), "test")
	for _, url := range []string{"http://127.0.0.1:1/?token=s3cr3t&a=b", "http://127.0.0.1:1/%zz?token=s3cr3t", "http://10.1.2.3/?sig=s3cr3t"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, exchange, err := client.Do(ctx, outbound.Request{Method: http.MethodGet, URL: url})
		cancel()
		require.Error(t, err)
		require.NotContains(t, err.Error()+exchange.URL, "s3cr3t")
	}
}

func TestFormsHideTheirSecrets(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, exchange, err := outbound.NewClient(guard(t, true), "test").Do(ctx, outbound.Request{
		Method: http.MethodPost, URL: url, Body: []byte("grant_type=x&client_secret=s3cr3t&n=1"), Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	})
	require.NoError(t, err)
	require.Equal(t, "grant_type=x&client_secret=****&n=1", exchange.RequestBody)
}
