package webhooks

import (
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
	Secret      string            `json:"secret,omitempty" doc:"Signs the webhooks: whsec_ and 24 to 64 bytes in base64, or whsk_ and an ed25519 private key; made when absent"`
	Scheme      string            `json:"signature_scheme,omitempty" enum:"v1,v1a" doc:"What secret is made: v1, one that the receiver knows (default), or v1a, an ed25519 key pair of which it knows public_key"`
	EventTypes  []string          `json:"event_types,omitempty" nullable:"false" maxItems:"100" doc:"Types to deliver without a rule: exact ones, or with * for any run of characters, such as payment.*, *.created or order.*.failed; * for all. Default: none, or all when there is a pattern" example:"[\"payment.*\"]"`
	Pattern     httpapi.JSON      `json:"pattern,omitempty" doc:"Event pattern, as of a rule, that events of event_types must match as well to be delivered"`
	Transform   string            `json:"transform,omitempty" maxLength:"8192" doc:"jq program that makes the whole body of a webhook of the event, as that of a rule's action; an action with a transform or payload of its own goes by that" example:"{text: \"Order \\(.data.id)\"}"`
	Headers     map[string]string `json:"headers,omitempty" doc:"Sent with each webhook; the values are kept like secrets"`
	Auth        *Auth             `json:"auth,omitempty" doc:"How the receiver knows, beside the signature, who calls it"`
	TLS         *TLSFiles         `json:"tls,omitempty" doc:"Certificates that the receiver needs"`
	Delivery
	Format  string `json:"format,omitempty" enum:"standard,cloudevents-binary,cloudevents-structured" doc:"What the body is: standard is {type, timestamp, data}, the others are CloudEvents 1.0 in that mode; default: standard"`
	Enabled *bool  `json:"enabled,omitempty" doc:"Default true"`
	Tenant  string `json:"tenant,omitempty" doc:"Whose the endpoint is; default: the caller's"`
}

// EndpointPatch changes the fields that it has.
type EndpointPatch struct {
	URL         *string           `json:"url,omitempty" minLength:"1"`
	Description *string           `json:"description,omitempty"`
	Secret      *string           `json:"secret,omitempty" doc:"Replaces the secret at once, and those before it; POST /endpoints/{id}/secret/rotate lets both sign for a time"`
	EventTypes  []string          `json:"event_types,omitempty" nullable:"false" maxItems:"100" doc:"Replaces all types; an empty list ends the subscription, whatever the pattern"`
	Pattern     httpapi.JSON      `json:"pattern,omitempty" doc:"Replaces it. The first one of an endpoint without event_types subscribes it to all, as when it is created"`
	Transform   *string           `json:"transform,omitempty" minLength:"1" maxLength:"8192" doc:"Replaces it, for events accepted from now on"`
	Headers     map[string]string `json:"headers,omitempty" doc:"Replaces all headers; the value **** keeps the present one"`
	Auth        *Auth             `json:"auth,omitempty" doc:"Replaces it; the value **** keeps the present one, type none ends it"`
	TLS         *TLSFiles         `json:"tls,omitempty" doc:"Replaces all of it; an empty object ends it"`
	DeliveryPatch
	Format  *string `json:"format,omitempty" enum:"standard,cloudevents-binary,cloudevents-structured" doc:"What the body is, from the next attempt on"`
	Enabled *bool   `json:"enabled,omitempty" doc:"true also forgets that the endpoint failed"`
}

// Endpoint is an endpoint as it is shown.
type Endpoint struct {
	ID                   uuid.UUID         `json:"id"`
	Tenant               string            `json:"tenant"`
	URL                  string            `json:"url"`
	Description          string            `json:"description,omitempty"`
	Secret               string            `json:"secret,omitempty" doc:"Only in the answer that makes it; keep it"`
	Scheme               string            `json:"signature_scheme" enum:"v1,v1a"`
	PublicKey            string            `json:"public_key,omitempty" doc:"Of scheme v1a: what the receiver checks signatures with"`
	OldSecrets           []OldSecret       `json:"old_secrets,omitempty" doc:"Secrets before this one that still sign beside it"`
	EventTypes           []string          `json:"event_types" nullable:"false"`
	Pattern              httpapi.JSON      `json:"pattern,omitempty"`
	Transform            string            `json:"transform,omitempty"`
	Headers              map[string]string `json:"headers" doc:"The names; each value is shown as ****"`
	Auth                 *Auth             `json:"auth,omitempty" doc:"Secrets are shown as ****"`
	TLS                  *TLSFiles         `json:"tls,omitempty" doc:"The key is shown as ****"`
	CertificateExpiresAt *time.Time        `json:"certificate_expires_at,omitempty" doc:"When the client certificate ends"`
	Delivery
	Format         string         `json:"format" enum:"standard,cloudevents-binary,cloudevents-structured" doc:"What the body of a webhook is"`
	Enabled        bool           `json:"enabled"`
	DisabledReason string         `json:"disabled_reason,omitempty" doc:"Why it was disabled, when that was not asked for"`
	DisabledAt     *time.Time     `json:"disabled_at,omitempty"`
	Health         EndpointHealth `json:"health"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
}

// OldSecret is what is shown of a secret that still signs.
type OldSecret struct {
	Scheme    string    `json:"signature_scheme" enum:"v1,v1a"`
	PublicKey string    `json:"public_key,omitempty"`
	Until     time.Time `json:"until" doc:"When it ceases to sign"`
}

// hidden stands for the value of a header.
const hidden = "****"

// Validate gives the mistakes that need neither the guard nor the database.
func (n NewEndpoint) Validate() []fault.Detail {
	mistakes := append(httpapi.CheckText("/description", n.Description, 500), httpapi.CheckName("/tenant", n.Tenant)...)
	mistakes = append(mistakes, n.Delivery.Validate()...)
	mistakes = append(mistakes, checkNewSecret(n.Secret, n.Scheme)...)
	mistakes = append(mistakes, checkTypes(n.EventTypes)...)
	mistakes = append(mistakes, checkPattern(n.Pattern)...)
	mistakes = append(mistakes, checkTransform(n.Transform)...)
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
	mistakes = append(mistakes, p.DeliveryPatch.Validate()...)
	mistakes = append(mistakes, p.checkFilter()...)
	return append(mistakes, checkHeaders(p.Headers)...)
}

func checkHeaders(headers map[string]string) []fault.Detail {
	return outbound.CheckHeaders("/headers", headers, "Content-Type", "User-Agent", "Webhook-*")
}
