package sources_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/sources"
)

// vector is a request whose signature was made by somebody else.
type vector struct {
	source  sources.Source
	secret  string
	headers []string // names and values in turn
	body    string
	at      int64 // when it was signed, in Unix seconds; 0 when the vendor signs no time
}

func headers(of ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(of); i += 2 {
		h.Add(of[i], of[i+1])
	}
	return h
}

func kind(name string) sources.Source { return sources.Source{Kind: name} }

// vectors are what the vendors publish (GitHub, Slack, Standard Webhooks), and for
// those that publish none what Python's hmac module makes by their rules.
var vectors = map[string]vector{
	"github": {
		source: kind("github"), secret: "It's a Secret to Everybody", body: "Hello, World!",
		headers: []string{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
	},
	"slack": {
		source: kind("slack"), secret: "8f742231b10e8888abcd99yyyzzz85a5", at: 1531420618,
		headers: []string{
			"X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503", "X-Slack-Request-Timestamp", "1531420618",
		},
		body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA" +
			"&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J" +
			"%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
	},
	"standard": {
		source: kind("standard-webhooks"), secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", body: `{"test": 2432232314}`, at: 1614265330,
		headers: []string{
			"Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "Webhook-Timestamp", "1614265330", "Webhook-Signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		},
	},
	"svix, several signatures": {
		source: kind("standard-webhooks"), secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", body: `{"test": 2432232314}`, at: 1614265330,
		headers: []string{
			"Svix-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "Svix-Timestamp", "1614265330",
			"Svix-Signature", "v1,Zm9v v1a,Zm9v v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,!",
		},
	},
	"stripe": {
		source: kind("stripe"), secret: "whsec_test_secret", body: `{"id":"evt_1"}`, at: 1492774577,
		headers: []string{"Stripe-Signature", "t=1492774577,v1=799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f"},
	},
	"stripe, while a secret is rolled": {
		source: kind("stripe"), secret: "whsec_test_secret", body: `{"id":"evt_1"}`, at: 1492774577,
		headers: []string{
			"Stripe-Signature", "t=1492774577,v1=7de382fc9d50efc4cbab2272c65bd6bca85a6eb696ebf6d9dfed06b24d0a3ca8," +
				"v1=799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f,v0=00",
		},
	},
	"shopify": {
		source: kind("shopify"), secret: "hush", body: `{"id":820982911946154508}`,
		headers: []string{"X-Shopify-Hmac-Sha256", "qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I="},
	},
	"hmac sha1 base64": {
		source: sources.Source{Kind: "hmac", HMAC: &sources.HMAC{Algorithm: "sha1", Header: "X-Sig", Encoding: "base64", Type: "t"}},
		secret: "key", body: `{"a":1}`, headers: []string{"x-sig", "tVV6S488wwjRnrT2nzNjkqMe73s="},
	},
	"hmac sha512 over id, time and body": {
		source: sources.Source{Kind: "hmac", HMAC: &sources.HMAC{
			Algorithm: "sha512", Header: "X-Sig", Prefix: "v9=", Signed: "{id}|{timestamp}|{body}", TimestampHeader: "X-At", IDHeader: "X-Id", Tolerance: "10s", Type: "t",
		}},
		secret: "key", body: `{"a":1}`, at: 1700000000,
		headers: []string{
			"X-Id", "id-1", "X-At", "1700000000", "X-Sig", "v9=82dbe6753d7040dfd77748de430b0df85f154839f2e9f17f3c08f9e427064ab1" +
				"09a18ef06f64e5aaad78b35d7261bb42e2f661bc11a64681a276b0bf1fbfba35",
		},
	},
}

func (v vector) now() time.Time {
	if v.at == 0 {
		return time.Unix(1800000000, 0)
	}
	return time.Unix(v.at, 0)
}

func (v vector) proof(secrets []string, now time.Time, body string) string {
	return sources.Proof(v.source, secrets, now, headers(v.headers...), []byte(body))
}

func TestSignaturesOfVendorsAreProof(t *testing.T) {
	t.Parallel()
	for name, v := range vectors {
		require.Empty(t, v.proof([]string{v.secret}, v.now(), v.body), name)
	}
}

// standardOther is some other key of the right form; other kinds take it as text.
const standardOther = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestEitherSecretIsProofAndNoOtherIs(t *testing.T) {
	t.Parallel()
	for name, v := range vectors {
		require.Empty(t, v.proof([]string{v.secret, standardOther}, v.now(), v.body), name)
		require.Empty(t, v.proof([]string{standardOther, v.secret}, v.now(), v.body), name)
		require.Contains(t, v.proof([]string{standardOther}, v.now(), v.body), "no signature fits", name)
		require.Contains(t, v.proof(nil, v.now(), v.body), "has no secret", name)
	}
}

func TestEveryChangedByteOfABodyIsNoticed(t *testing.T) {
	t.Parallel()
	for name, v := range vectors {
		for i := range v.body {
			changed := []byte(v.body)
			changed[i] ^= 1
			require.Contains(t, v.proof([]string{v.secret}, v.now(), string(changed)), "no signature fits", name)
		}
		for _, body := range []string{"", v.body + "\n", " " + v.body, v.body[1:]} {
			require.Contains(t, v.proof([]string{v.secret}, v.now(), body), "no signature fits", name)
		}
	}
}

func TestHeadersThatAreMissingTwiceOrDamagedProveNothing(t *testing.T) {
	t.Parallel()
	for name, v := range vectors {
		for i := 0; i < len(v.headers); i += 2 {
			of, value := v.headers[i], v.headers[i+1]
			for _, change := range []func(http.Header){
				func(h http.Header) { h.Del(of) },
				func(h http.Header) { h.Set(of, "") },
				func(h http.Header) { h.Add(of, value) },
				func(h http.Header) { h.Set(of, value[:len(value)/2]) },
				func(h http.Header) { h.Set(of, strings.ToUpper(value)+"=") },
				func(h http.Header) { h.Set(of, "\xff") },
			} {
				h := headers(v.headers...)
				change(h)
				require.NotEmpty(t, sources.Proof(v.source, []string{v.secret}, v.now(), h, []byte(v.body)), "%s: %s", name, of)
			}
		}
	}
}

func TestSignatureHoldsForItsToleranceOnly(t *testing.T) {
	t.Parallel()
	for name, v := range vectors {
		tolerance := 5 * time.Minute
		if v.source.HMAC != nil && v.source.HMAC.Tolerance != "" {
			tolerance = 10 * time.Second
		}
		for _, way := range []time.Duration{1, -1} {
			require.Empty(t, v.proof([]string{v.secret}, v.now().Add(way*tolerance), v.body), name)
			late := v.proof([]string{v.secret}, v.now().Add(way*(tolerance+time.Second)), v.body)
			if v.at == 0 {
				require.Empty(t, late, name)
				continue
			}
			require.Contains(t, late, tolerance.String(), name)
		}
	}
	// A time that no clock shows is outside of every tolerance.
	for _, at := range []string{"-9223372036854775808", "9223372036854775807", "9223372036854775808", "0x10", "1e9", "١"} {
		v := vectors["slack"]
		h := headers("X-Slack-Request-Timestamp", at, "X-Slack-Signature", "v0="+hexOf(v.secret, "v0:"+at+":"+v.body))
		require.NotEmpty(t, sources.Proof(v.source, []string{v.secret}, v.now(), h, []byte(v.body)), at)
	}
}

func TestIDAndTimeOfStandardWebhooksCannotBeShifted(t *testing.T) {
	t.Parallel()
	v := vectors["standard"]
	h := headers("Webhook-Id", "msg", "Webhook-Timestamp", "1614265330", "Webhook-Signature", "")
	h.Set("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330")
	h.Set("Webhook-Signature", v.headers[5])
	require.Contains(t, sources.Proof(v.source, []string{v.secret}, v.now(), h, []byte(v.body)), "no dot")
}

// TestOfficialLibraryIsUnderstood signs with the library of Standard Webhooks.
func TestOfficialLibraryIsUnderstood(t *testing.T) {
	t.Parallel()
	secret := "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	library, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	now, body := time.Unix(1760000000, 0), []byte(`{"type":"a.b","timestamp":"2025-10-09T08:53:20Z","data":{}}`)
	signature, err := library.Sign("msg_1", now, body)
	require.NoError(t, err)
	h := headers("Webhook-Id", "msg_1", "Webhook-Timestamp", "1760000000", "Webhook-Signature", signature)
	e, why := sources.EventOf(kind("standard-webhooks"), secret, now, h, body)
	require.Empty(t, why)
	require.Equal(t, "msg_1 a.b 2025-10-09T08:53:20Z", *e.ID+" "+e.Type+" "+e.Time)
	require.Equal(t, string(body), string(e.Data))
}

// FuzzProof gives headers and bodies of any sort to every vendor: nothing panics,
// and nothing is proved under a secret that nobody has signed with.
func FuzzProof(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.headers[len(v.headers)-1], v.headers[1], []byte(v.body))
	}
	f.Add("t=1,t=2,v1=", "sha256=", []byte("payload=%7B%7D"))
	f.Add("v1, v1,a v1,=", "v0=zz", []byte("[]"))
	f.Fuzz(func(t *testing.T, signature, other string, body []byte) {
		for name, v := range vectors {
			h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
			for i := 0; i < len(v.headers); i += 2 {
				h.Set(v.headers[i], other)
			}
			for _, of := range []string{"X-Hub-Signature-256", "X-Slack-Signature", "Webhook-Signature", "Svix-Signature", "Stripe-Signature", "X-Shopify-Hmac-Sha256", "X-Sig"} {
				h.Set(of, signature)
			}
			_, why := sources.EventOf(v.source, standardOther, v.now(), h, body)
			require.NotEmpty(t, why, name)
		}
	})
}

// FuzzEvent signs any body with any names: what comes of it never panics.
func FuzzEvent(f *testing.F) {
	f.Add("issues", "opened", []byte(`{"action":"opened","issue":{"number":1}}`))
	f.Add("release", "..", []byte(`{"action":{},"release":[]}`))
	f.Add("marketplace_purchase", "d", []byte(`{"sender":{"url":"x"}}`))
	f.Add("membership", "d", []byte(`"text"`))
	f.Fuzz(func(t *testing.T, event, id string, body []byte) {
		h := headers("X-Hub-Signature-256", "sha256="+hexOf("k", string(body)), "X-GitHub-Event", event, "X-GitHub-Delivery", id)
		e, why := sources.EventOf(kind("github"), "k", time.Unix(0, 0), h, body)
		if why == "" {
			require.NotEmpty(t, e.Source)
			require.True(t, strings.HasPrefix(e.Type, "com.github."))
			require.Equal(t, string(body), string(e.Data))
		}
	})
}
