package webhooks_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
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

// verifies says whether the official library takes a delivery with a secret.
func verifies(t *testing.T, secret string, header http.Header, body []byte) bool {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return verifier.Verify(body, header) == nil
}

// TestOldSecretSignsUntilItsTimeIsOver looks at deliveries before, in and after the
// overlap of a rotation.
func TestOldSecretSignsUntilItsTimeIsOver(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusNoContent)
	e := b.create(t, url, "")
	deliver := func() delivery {
		require.NoError(t, b.attempt(t, e.ID))
		return (*got)[len(*got)-1]
	}
	before := deliver()
	rotated := b.endpoint(t, http.StatusOK, http.MethodPost, "/endpoints/"+e.ID.String()+"/secret/rotate", `{"overlap":"4s"}`)
	require.True(t, verifies(t, e.Secret, before.header, before.body))
	require.False(t, verifies(t, rotated.Secret, before.header, before.body))
	both := false
	require.Eventually(t, func() bool {
		d := deliver()
		require.True(t, verifies(t, rotated.Secret, d.header, d.body), "the new one signs from the answer on")
		signatures := strings.Fields(d.header.Get("webhook-signature"))
		old := verifies(t, e.Secret, d.header, d.body)
		require.Len(t, signatures, map[bool]int{true: 2, false: 1}[old])
		both = both || old
		return !old
	}, 30*time.Second, 100*time.Millisecond, "the old one ceases to sign")
	require.True(t, both, "for a time both signed")
}

// TestWhatIsSignedIsWhatIsSent changes what was sent in each of its parts, and compares
// what came with what is on record.
func TestWhatIsSignedIsWhatIsSent(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusInternalServerError) // of failures the body is on record
	for scheme, format := range map[string]string{"v1": "standard", "v1a": "cloudevents-structured"} {
		e := b.create(t, url, `,"signature_scheme":"`+scheme+`","format":"`+format+`"`)
		job := b.job(e.ID, `{ "a" : 1.0, "b":"\u00e9<&>\u2028" }`)
		result, err := b.kind.Run(t.Context(), job)
		require.Error(t, err)
		sent := (*got)[len(*got)-1]
		require.Equal(t, string(sent.body), result.Exchange.RequestBody, "byte for byte")
		require.Equal(t, sent.header.Get("webhook-id"), result.Exchange.RequestHeaders["Webhook-Id"])
		require.Equal(t, sent.header.Get("webhook-timestamp"), result.Exchange.RequestHeaders["Webhook-Timestamp"])
		takes := func(header http.Header, body []byte) bool {
			if scheme == "v1" {
				return verifies(t, e.Secret, header, body)
			}
			return verifiesPair(t, e.PublicKey, header, body)
		}
		require.True(t, takes(sent.header, sent.body))
		for name, change := range map[string]func(h http.Header, body []byte){
			"a byte of the body": func(_ http.Header, body []byte) { body[len(body)/2] ^= 1 },
			"the timestamp": func(h http.Header, _ []byte) {
				at, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
				require.NoError(t, err)
				h.Set("webhook-timestamp", strconv.FormatInt(at+1, 10))
			},
			"the id": func(h http.Header, _ []byte) { h.Set("webhook-id", uuid.NewString()) },
			"the signature": func(h http.Header, _ []byte) {
				h.Set("webhook-signature", scheme+","+base64.StdEncoding.EncodeToString(make([]byte, 64)))
			},
		} {
			header, body := sent.header.Clone(), bytes.Clone(sent.body)
			change(header, body)
			require.False(t, takes(header, body), name)
		}
	}
}

// verifiesPair checks a signature of the scheme v1a by the text of the specification: no
// official library knows it. The key stands in base64 behind its prefix, and signed are
// the id, the timestamp and the body, with dots between.
func verifiesPair(t *testing.T, public string, header http.Header, body []byte) bool {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
	require.NoError(t, err)
	require.Len(t, key, ed25519.PublicKeySize)
	signature, ok := strings.CutPrefix(header.Get("webhook-signature"), "v1a,")
	require.True(t, ok)
	raw, err := base64.StdEncoding.DecodeString(signature)
	require.NoError(t, err)
	signed := header.Get("webhook-id") + "." + header.Get("webhook-timestamp") + "." + string(body)
	return ed25519.Verify(key, []byte(signed), raw)
}
