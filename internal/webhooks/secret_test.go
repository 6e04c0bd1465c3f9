package webhooks_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/webhooks"
)

func TestBothSecretsSignDuringARotation(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusNoContent)
	e := b.create(t, url, "")
	path := "/endpoints/" + e.ID.String() + "/secret/rotate"
	rotated := b.endpoint(t, http.StatusOK, http.MethodPost, path, `{"overlap":"1h"}`)
	require.NotEqual(t, e.Secret, rotated.Secret)
	require.Len(t, rotated.OldSecrets, 1)
	require.NoError(t, b.attempt(t, e.ID))
	for _, secret := range []string{e.Secret, rotated.Secret} {
		verifier, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify((*got)[0].body, (*got)[0].header), "a receiver with either secret takes it")
		require.Error(t, verifier.Verify(append([]byte(" "), (*got)[0].body...), (*got)[0].header))
	}

	last := b.endpoint(t, http.StatusOK, http.MethodPost, path, `{"overlap":"0s"}`)
	require.Len(t, last.OldSecrets, 1, "the one before goes at once, the first has its time")
	require.NoError(t, b.attempt(t, e.ID))
	verifier, err := standardwebhooks.NewWebhook(rotated.Secret)
	require.NoError(t, err)
	require.Error(t, verifier.Verify((*got)[1].body, (*got)[1].header))

	shown := b.send(http.MethodGet, "/endpoints/"+e.ID.String(), "").Body.String()
	require.NotContains(t, shown, "whsec_")
	for range 4 {
		require.Equal(t, http.StatusOK, b.send(http.MethodPost, path, `{"overlap":"168h"}`).Code)
	}
	require.Equal(t, http.StatusConflict, b.send(http.MethodPost, path, `{"overlap":"168h"}`).Code)
	for _, bad := range []string{`{"overlap":"169h"}`, `{"overlap":"-1s"}`, `{"secret":"whsec_x"}`, `{"signature_scheme":"v2"}`} {
		require.Equal(t, http.StatusUnprocessableEntity, b.send(http.MethodPost, path, bad).Code, bad)
	}
}

func TestKeyPairSignsForItsPublicHalf(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusNoContent)
	made := b.create(t, url, `,"signature_scheme":"v1a"`)
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	given := b.create(t, url, `,"secret":"whsk_`+base64.StdEncoding.EncodeToString(seed)+`"`)
	for i, e := range []webhooks.Endpoint{made, given} {
		require.Equal(t, "v1a", e.Scheme)
		require.True(t, strings.HasPrefix(e.Secret, "whsk_"))
		text, ok := strings.CutPrefix(e.PublicKey, "whpk_")
		require.True(t, ok)
		public, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		require.NoError(t, b.attempt(t, e.ID))
		d := (*got)[i]
		signature, ok := strings.CutPrefix(d.header.Get("webhook-signature"), "v1a,")
		require.True(t, ok)
		raw, err := base64.StdEncoding.DecodeString(signature)
		require.NoError(t, err)
		signed := d.header.Get("webhook-id") + "." + d.header.Get("webhook-timestamp") + "." + string(d.body)
		require.True(t, ed25519.Verify(public, []byte(signed), raw))
	}
	rec := b.send(http.MethodGet, "/endpoints/"+made.ID.String(), "").Body.String()
	require.NotContains(t, rec, "whsk_")
	require.Contains(t, rec, made.PublicKey, "the public half is no secret")

	shared := b.endpoint(t, http.StatusOK, http.MethodPost, "/endpoints/"+made.ID.String()+"/secret/rotate", `{"signature_scheme":"v1"}`)
	require.Equal(t, "v1", shared.Scheme)
	require.NoError(t, b.attempt(t, made.ID))
	require.Regexp(t, `^v1,\S+ v1a,\S+$`, (*got)[2].header.Get("webhook-signature"))

	require.Equal(t, http.StatusOK, b.send(http.MethodPost, "/endpoints/"+given.ID.String()+"/secret/rotate", "").Code, "nothing need be said")

	wrong := append(bytes.Clone(seed), bytes.Repeat([]byte{9}, 32)...) // a public half of another key
	for _, bad := range []string{
		`"secret":"whsk_` + base64.StdEncoding.EncodeToString(wrong) + `"`, `"secret":"whsk_AAAA"`, `"secret":"whsec_` + base64.StdEncoding.EncodeToString(seed) + `","signature_scheme":"v1a"`,
	} {
		require.Equal(t, http.StatusUnprocessableEntity, b.send(http.MethodPost, "/endpoints", `{"url":"https://example.com/",`+bad+`}`).Code, bad)
	}
}
