package webhooks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/webhooks"
)

func TestFixedCredentialsAreSentAndHidden(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusNoContent)
	for more, want := range map[string]string{
		`,"auth":{"type":"bearer","token":"hunter2"}`:                    "Bearer hunter2",
		`,"auth":{"type":"basic","username":"us","password":"hunter2:"}`: "Basic dXM6aHVudGVyMjo=",
	} {
		e := b.create(t, url, more)
		result, err := b.kind.Run(t.Context(), b.job(e.ID, "1"))
		require.NoError(t, err)
		require.Equal(t, want, (*got)[len(*got)-1].header.Get("Authorization"))
		require.Equal(t, "****", result.Exchange.RequestHeaders["Authorization"])
		path := "/endpoints/" + e.ID.String()
		require.NotContains(t, b.send(http.MethodGet, path, "").Body.String(), "hunter2")

		shown, err := json.Marshal(b.endpoint(t, http.StatusOK, http.MethodGet, path, "").Auth)
		require.NoError(t, err)
		b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"auth":`+string(shown)+`}`)
		require.NoError(t, b.attempt(t, e.ID))
		require.Equal(t, want, (*got)[len(*got)-1].header.Get("Authorization"), "what is shown may be sent back")
		b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"auth":{"type":"none"}}`)
		require.NoError(t, b.attempt(t, e.ID))
		require.Empty(t, (*got)[len(*got)-1].header.Get("Authorization"))
	}
	var stored string
	require.NoError(t, b.db.GetContext(t.Context(), &stored, `SELECT coalesce(string_agg(encode(credentials, 'escape'), ' '), '') FROM signalstack.endpoints`))
	require.NotContains(t, stored, "hunter2")
	for _, bad := range []string{
		`{"type":"bearer"}`, `{"type":"basic","username":"a:b"}`, `{"type":"no"}`, `{"type":"bearer","token":"a\r\nX: y"}`,
		`{"type":"bearer","token":"x","password":"y"}`, `{"type":"oauth2","token_url":"http://10.0.0.1/","client_id":"a","client_secret":"b"}`,
		`{"type":"bearer","token":"x","scopes":["y"]}`,
	} {
		require.Equal(t, http.StatusUnprocessableEntity, b.send(http.MethodPost, "/endpoints", `{"url":"`+url+`","auth":`+bad+`}`).Code, bad)
	}
	both := `{"url":"` + url + `","headers":{"authorization":"x"},"auth":{"type":"bearer","token":"y"}}`
	require.Equal(t, http.StatusUnprocessableEntity, b.send(http.MethodPost, "/endpoints", both).Code)
}

func TestTokenIsFetchedOnceAndAgainWhenItIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t)
	var asked, status atomic.Int64
	status.Store(http.StatusOK)
	giver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if status.Load() != http.StatusOK {
			w.WriteHeader(int(status.Load()))
			_, _ = fmt.Fprint(w, `{"error":"invalid_client"}`)
			return
		}
		user, password, _ := r.BasicAuth()
		if user != "id" || password != "hunter2" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "a b" || r.FormValue("audience") != "x" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, asked.Add(1))
	}))
	t.Cleanup(giver.Close)
	var seen atomic.Value
	answer := atomic.Int64{}
	answer.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		w.WriteHeader(int(answer.Load()))
	}))
	t.Cleanup(server.Close)
	e := b.create(t, server.URL, `,"auth":{"type":"oauth2","token_url":"`+giver.URL+`","client_id":"id","client_secret":"hunter2","scopes":["a","b"],"parameters":{"audience":"x"}}`)
	done := make(chan error, 10)
	for range cap(done) {
		go func() {
			_, err := b.kind.Run(t.Context(), b.job(e.ID, "1"))
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.EqualValues(t, 1, asked.Load(), "a crowd asks once")
	require.Equal(t, "Bearer t1", seen.Load())

	answer.Store(http.StatusUnauthorized)
	require.Error(t, b.attempt(t, e.ID))
	answer.Store(http.StatusOK)
	require.NoError(t, b.attempt(t, e.ID))
	require.Equal(t, "Bearer t2", seen.Load(), "a token that was refused is not used again")

	status.Store(http.StatusUnauthorized)
	b.endpoint(t, http.StatusOK, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"auth":{"type":"oauth2","token_url":"`+giver.URL+`","client_id":"id","client_secret":"****","scopes":["a","b"],"parameters":{"audience":"****"}}}`)
	require.NoError(t, b.attempt(t, e.ID), "the same credentials, the same token")
	b.endpoint(t, http.StatusOK, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"auth":{"type":"oauth2","token_url":"`+giver.URL+`?","client_id":"id","client_secret":"****","scopes":["a","b"],"parameters":{"audience":"****"}}}`)
	err := b.attempt(t, e.ID)
	require.ErrorContains(t, err, "the token endpoint answered 401 invalid_client")
	require.NotContains(t, err.Error(), "hunter2")
}

// pair makes a certificate, signed by itself, and its key.
func pair(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func TestReceiverWithItsOwnAuthorityAsksForACertificate(t *testing.T) {
	t.Parallel()
	b := start(t)
	certificate, key := pair(t, "signalstack")
	stranger, strangersKey := pair(t, "signalstack")
	known := x509.NewCertPool()
	require.True(t, known.AppendCertsFromPEM([]byte(certificate)))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	server.TLS = &tls.Config{ClientCAs: known, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	with := func(files webhooks.TLSFiles) string {
		text, err := json.Marshal(files)
		require.NoError(t, err)
		return string(text)
	}
	e := b.create(t, server.URL, "")
	path := "/endpoints/" + e.ID.String()
	require.ErrorContains(t, b.attempt(t, e.ID), "certificate", "the authority is not known")
	b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"tls":`+with(webhooks.TLSFiles{CA: ca})+`}`)
	require.Error(t, b.attempt(t, e.ID), "it wants a certificate")
	b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"tls":`+with(webhooks.TLSFiles{CA: ca, Certificate: stranger, Key: strangersKey})+`}`)
	require.Error(t, b.attempt(t, e.ID), "it wants another one")
	shown := b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"tls":`+with(webhooks.TLSFiles{CA: ca, Certificate: certificate, Key: key})+`}`)
	require.Equal(t, "****", shown.TLS.Key)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), *shown.CertificateExpiresAt, time.Hour)
	require.NoError(t, b.attempt(t, e.ID))
	b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"tls":`+with(*shown.TLS)+`}`)
	require.NoError(t, b.attempt(t, e.ID), "what is shown may be sent back")
	for _, bad := range []webhooks.TLSFiles{{CA: "x"}, {Certificate: certificate}, {Key: key}, {Certificate: certificate, Key: strangersKey}} {
		require.Equal(t, http.StatusUnprocessableEntity, b.send(http.MethodPatch, path, `{"tls":`+with(bad)+`}`).Code)
	}
	b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"tls":{}}`)
	require.Error(t, b.attempt(t, e.ID))
}
