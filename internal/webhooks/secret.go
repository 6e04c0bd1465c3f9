package webhooks

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/signalstack/signalstack/internal/fault"
)

// The two schemes of Standard Webhooks ("Signature scheme"): a secret that both sides
// share, or a key pair of which the receiver knows the public half only.
const (
	schemeShared = "v1"  // HMAC-SHA256
	schemePair   = "v1a" // ed25519

	sharedPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"

	minSecretBytes = 24
	maxSecretBytes = 64
	newSecretBytes = 32
)

// checkSecret gives what is wrong with a secret that a client chose.
func checkSecret(secret string) []fault.Detail {
	if strings.HasPrefix(secret, privatePrefix) {
		if _, err := privateKey(secret); err != nil {
			return []fault.Detail{{Pointer: "/secret", Detail: fmt.Sprintf(
				"must be %s and an ed25519 private key in base64: a seed of %d bytes, or that and the public key", privatePrefix, ed25519.SeedSize)}}
		}
		return nil
	}
	text, ok := strings.CutPrefix(secret, sharedPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return []fault.Detail{{Pointer: "/secret", Detail: fmt.Sprintf(
			"must be %s and %d to %d random bytes in base64, or absent to have one made", sharedPrefix, minSecretBytes, maxSecretBytes)}}
	}
	return nil
}

// checkNewSecret is checkSecret of one that may be absent, and of the scheme to make one
// for.
func checkNewSecret(secret, scheme string) []fault.Detail {
	switch {
	case secret == "":
		return nil
	case scheme != "" && scheme != schemeOf(secret):
		return []fault.Detail{{Pointer: "/signature_scheme", Detail: "is not the scheme that this secret is for; leave it out"}}
	}
	return checkSecret(secret)
}

// newSecret makes a secret for a scheme.
func newSecret(scheme string) string {
	if scheme == schemePair {
		_, key, _ := ed25519.GenerateKey(rand.Reader) // its reader never fails (crypto/rand)
		return privatePrefix + base64.StdEncoding.EncodeToString(key)
	}
	key := make([]byte, newSecretBytes)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return sharedPrefix + base64.StdEncoding.EncodeToString(key)
}

// schemeOf gives the scheme that a secret is for.
func schemeOf(secret string) string {
	if strings.HasPrefix(secret, privatePrefix) {
		return schemePair
	}
	return schemeShared
}

// publicKey gives what a receiver checks signatures of a key pair with; "" for a
// shared secret.
func publicKey(secret string) string {
	key, err := privateKey(secret)
	if err != nil {
		return ""
	}
	public, _ := key.Public().(ed25519.PublicKey)
	return publicPrefix + base64.StdEncoding.EncodeToString(public)
}

func privateKey(secret string) (ed25519.PrivateKey, error) {
	text, ok := strings.CutPrefix(secret, privatePrefix)
	raw, err := base64.StdEncoding.DecodeString(text)
	switch {
	case !ok || err != nil:
	case len(raw) == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(raw), nil
	case len(raw) == ed25519.PrivateKeySize:
		// The public half must be that of the seed, or signatures could give the key away.
		if key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize]); key.Equal(ed25519.PrivateKey(raw)) {
			return key, nil
		}
	}
	return nil, errors.New("not an ed25519 private key")
}

// signature signs a message with one secret. Its errors do not show the secret.
func signature(secret, id string, at time.Time, body []byte) (string, error) {
	if key, err := privateKey(secret); err == nil {
		signed := append([]byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body...)
		return schemePair + "," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, signed)), nil
	}
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return "", errors.New("read the endpoint's secret")
	}
	signed, err := signer.Sign(id, at, body)
	if err != nil {
		return "", errors.New("sign with the endpoint's secret")
	}
	return signed, nil
}

// oldSecret, as it is stored, is one that still signs beside the present one, until a time.
type oldSecret struct {
	Secret string    `json:"secret"`
	Until  time.Time `json:"until"`
}

// maxOldSecrets bounds the signatures of a message.
const maxOldSecrets = 5

// signatures signs with the present secret and with the old ones that are not over, in
// that order (Standard Webhooks, "Multiple signatures").
func (t target) signatures(id string, at time.Time, body []byte) (string, error) {
	all := make([]string, 0, 1+len(t.old))
	for _, secret := range append([]string{t.secret}, t.stillSigning(at)...) {
		one, err := signature(secret, id, at, body)
		if err != nil {
			return "", err
		}
		all = append(all, one)
	}
	return strings.Join(all, " "), nil
}

// stillSigning gives the old secrets whose time is not over.
func (t target) stillSigning(at time.Time) []string {
	var secrets []string
	for _, o := range t.old {
		if at.Before(o.Until) {
			secrets = append(secrets, o.Secret)
		}
	}
	return secrets
}

// rotate replaces the secret; the one before signs for as long as overlap.
func (t *target) rotate(secret string, at time.Time, overlap time.Duration) error {
	kept := t.old[:0:0]
	for _, o := range t.old {
		if at.Before(o.Until) {
			kept = append(kept, o)
		}
	}
	if overlap > 0 {
		kept = append(kept, oldSecret{Secret: t.secret, Until: at.Add(overlap)})
	}
	if len(kept) > maxOldSecrets {
		return fault.New(fault.Conflict, "too_many_secrets", "%d secrets before this one still sign; wait until one is over, or rotate with an overlap of 0s", maxOldSecrets)
	}
	t.secret, t.old = secret, kept
	return nil
}
