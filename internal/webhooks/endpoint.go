package webhooks

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/outbound"
)

// NewEndpoint is what a client may say of an endpoint.
type NewEndpoint struct {
	URL         string            `json:"url" minLength:"1" doc:"Where webhooks go, http or https" example:"https://example.com/hooks"`
	Description string            `json:"description,omitempty" doc:"For people"`
	Secret      string            `json:"secret,omitempty" doc:"Signs the webhooks: whsec_ and 24 to 64 bytes in base64; made when absent"`
	EventTypes  []string          `json:"event_types,omitempty" nullable:"false" maxItems:"100" doc:"Types to deliver without a rule: exact ones, payment.* for all that begin with payment., or * for all" example:"[\"payment.*\"]"`
	Headers     map[string]string `json:"headers,omitempty" doc:"Sent with each webhook; the values are kept like secrets"`
	Enabled     *bool             `json:"enabled,omitempty" doc:"Default true"`
	Tenant      string            `json:"tenant,omitempty" doc:"Whose the endpoint is; default: the caller's"`
}

// EndpointPatch changes the fields that it has.
type EndpointPatch struct {
	URL         *string           `json:"url,omitempty" minLength:"1"`
	Description *string           `json:"description,omitempty"`
	Secret      *string           `json:"secret,omitempty" doc:"Replaces the secret at once"`
	EventTypes  []string          `json:"event_types,omitempty" nullable:"false" maxItems:"100" doc:"Replaces all types; an empty list ends the subscription"`
	Headers     map[string]string `json:"headers,omitempty" doc:"Replaces all headers; the value **** keeps the present one"`
	Enabled     *bool             `json:"enabled,omitempty"`
}

// Endpoint is an endpoint as it is shown.
type Endpoint struct {
	ID          uuid.UUID         `json:"id"`
	Tenant      string            `json:"tenant"`
	URL         string            `json:"url"`
	Description string            `json:"description,omitempty"`
	Secret      string            `json:"secret,omitempty" doc:"Only in the answer that creates the endpoint; keep it"`
	EventTypes  []string          `json:"event_types" nullable:"false"`
	Headers     map[string]string `json:"headers" doc:"The names; each value is shown as ****"`
	Enabled     bool              `json:"enabled"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
}

// hidden stands for the value of a header.
const hidden = "****"

// Validate gives the mistakes that need neither the guard nor the database.
func (n NewEndpoint) Validate() []fault.Detail {
	mistakes := append(httpapi.CheckText("/description", n.Description, 500), httpapi.CheckName("/tenant", n.Tenant)...)
	if n.Secret != "" {
		mistakes = append(mistakes, checkSecret(n.Secret)...)
	}
	mistakes = append(mistakes, checkTypes(n.EventTypes)...)
	mistakes = append(mistakes, checkHeaders(n.Headers)...)
	for name, value := range n.Headers {
		if value == hidden {
			mistakes = append(mistakes, fault.Detail{Pointer: "/headers/" + name, Detail: "is the text shown in place of a value; give the value itself"})
		}
	}
	return mistakes
}

// Validate gives the mistakes that need neither the guard nor the database.
func (p EndpointPatch) Validate() []fault.Detail {
	var mistakes []fault.Detail
	if p.Description != nil {
		mistakes = httpapi.CheckText("/description", *p.Description, 500)
	}
	if p.Secret != nil {
		mistakes = append(mistakes, checkSecret(*p.Secret)...)
	}
	mistakes = append(mistakes, checkTypes(p.EventTypes)...)
	return append(mistakes, checkHeaders(p.Headers)...)
}

func checkHeaders(headers map[string]string) []fault.Detail {
	return outbound.CheckHeaders("/headers", headers, "Content-Type", "User-Agent", "Webhook-*")
}

// Sizes of a secret (Standard Webhooks, "Signature scheme").
const (
	secretPrefix   = "whsec_"
	minSecretBytes = 24
	maxSecretBytes = 64
	newSecretBytes = 32
)

func checkSecret(secret string) []fault.Detail {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return []fault.Detail{{Pointer: "/secret", Detail: fmt.Sprintf(
			"must be %s and %d to %d random bytes in base64, or absent to have one made", secretPrefix, minSecretBytes, maxSecretBytes)}}
	}
	return nil
}

func newSecret() string {
	key := make([]byte, newSecretBytes)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// everything is the subscription to all types; wildcard ends one to a part of them.
const (
	everything = "*"
	wildcard   = ".*"
)

func checkTypes(types []string) []fault.Detail {
	var mistakes []fault.Detail
	for i, t := range types {
		pointer := fmt.Sprintf("/event_types/%d", i)
		exact := strings.TrimSuffix(t, wildcard)
		switch {
		case t == everything:
		case exact == "" || strings.Contains(exact, "*"):
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: "must be a type, such as payment.succeeded, or payment.* or *"})
		default:
			mistakes = append(mistakes, httpapi.CheckText(pointer, t, 255)...)
		}
	}
	return mistakes
}
