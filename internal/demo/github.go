package demo

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed github-webhooks.json
var githubWebhooks []byte

// Webhook is one event as GitHub sends it.
type Webhook struct {
	Event   string          `json:"event"` // the X-GitHub-Event header
	Payload json.RawMessage `json:"payload"`
}

// Type is the event's type in SignalStack.
func (w Webhook) Type() string { return "github." + w.Event }

// GitHub gives the embedded events.
func GitHub() ([]Webhook, error) {
	var all []Webhook
	if err := json.Unmarshal(githubWebhooks, &all); err != nil {
		return nil, fmt.Errorf("read the embedded events: %w", err)
	}
	return all, nil
}
