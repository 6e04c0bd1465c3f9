package demo

import (
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
)

//go:embed github-webhooks.json
var githubWebhooks []byte

// Webhook is one event as GitHub sends it.
type Webhook struct {
	Event   string          `json:"event"` // the X-GitHub-Event header
	Payload json.RawMessage `json:"payload"`
}

// Header is what GitHub sends with the webhook: what it is, the id of the delivery,
// and the signature of the payload under the secret that it was given.
func (w Webhook) Header(delivery, secret string) http.Header {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(w.Payload)
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("X-GitHub-Event", w.Event)
	h.Set("X-GitHub-Delivery", delivery)
	h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return h
}

// GitHub gives the embedded events.
func GitHub() ([]Webhook, error) {
	var all []Webhook
	if err := json.Unmarshal(githubWebhooks, &all); err != nil {
		return nil, fmt.Errorf("read the embedded events: %w", err)
	}
	return all, nil
}
