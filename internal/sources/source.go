package sources

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// NewSource is what a client may say of a source.
type NewSource struct {
	Name    string      `json:"name" minLength:"1" doc:"For people" example:"GitHub, our organization"`
	Kind    string      `json:"kind" enum:"github,stripe,slack,shopify,standard-webhooks,hmac" doc:"Whose webhooks come, and how they are signed; it cannot be changed"`
	Secrets []NewSecret `json:"secrets,omitempty" nullable:"false" maxItems:"2" doc:"What the vendor signs with, and what it will sign with next. Until there is one every delivery is refused"`
	HMAC    *HMAC       `json:"hmac,omitempty" doc:"How the kind hmac signs and names its events; required for it, and for no other"`
	Enabled *bool       `json:"enabled,omitempty" doc:"Default true; deliveries to a disabled source are answered 403"`
	Tenant  string      `json:"tenant,omitempty" doc:"Whose the events are; default: the caller's"`
}

// NewSecret is a secret that is shared with the vendor.
type NewSecret struct {
	Secret    string `json:"secret" minLength:"1" doc:"As the vendor shows it"`
	ExpiresAt string `json:"expires_at,omitempty" format:"date-time" doc:"Not valid from this time on; default: never"`
}

// SourcePatch changes the fields that it has.
type SourcePatch struct {
	Name    *string        `json:"name,omitempty" minLength:"1"`
	Secrets []SecretChange `json:"secrets,omitempty" nullable:"false" maxItems:"2" doc:"Replaces all secrets: {\"id\"} keeps one that is there, {\"secret\"} adds one"`
	HMAC    *HMAC          `json:"hmac,omitempty" doc:"Replaces all of it"`
	Enabled *bool          `json:"enabled,omitempty"`
}

// SecretChange is a secret to keep or to add.
type SecretChange struct {
	ID        string `json:"id,omitempty" format:"uuid" doc:"Of a secret that is there: it stays"`
	Secret    string `json:"secret,omitempty" doc:"A new secret"`
	ExpiresAt string `json:"expires_at,omitempty" format:"date-time" doc:"Not valid from this time on; default: never"`
}

// Source is a source as it is shown.
type Source struct {
	ID        uuid.UUID `json:"id" doc:"Random: it is the address of the source"`
	Tenant    string    `json:"tenant"`
	Name      string    `json:"name"`
	Kind      string    `json:"kind" enum:"github,stripe,slack,shopify,standard-webhooks,hmac"`
	Path      string    `json:"path" doc:"Where the vendor sends its webhooks" example:"/sources/5f0c7a52-3d5e-4f0e-9d7b-8a3b4c1d2e6f"`
	Secrets   []Secret  `json:"secrets" nullable:"false" doc:"The secrets themselves are never shown"`
	HMAC      *HMAC     `json:"hmac,omitempty"`
	Enabled   bool      `json:"enabled"`
	Counts    Counts    `json:"counts"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Secret is a secret as it is shown.
type Secret struct {
	ID        uuid.UUID  `json:"id"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Counts are how deliveries to a source ended.
type Counts struct {
	Accepted           int64      `db:"accepted" json:"accepted" doc:"Deliveries that became events"`
	Duplicates         int64      `db:"duplicates" json:"duplicates" doc:"Deliveries that had come before"`
	Rejected           int64      `db:"rejected" json:"rejected" doc:"Deliveries that were not proved to be the vendor's, or could not be read"`
	LastAcceptedAt     *time.Time `db:"last_accepted_at" json:"last_accepted_at,omitempty"`
	LastRejectedAt     *time.Time `db:"last_rejected_at" json:"last_rejected_at,omitempty"`
	LastRejectedReason string     `db:"last_rejected_reason" json:"last_rejected_reason,omitempty"`
}

// Validate gives the mistakes that the schema does not know.
func (n NewSource) Validate() []fault.Detail {
	mistakes := append(checkSourceName(n.Name), httpapi.CheckName("/tenant", n.Tenant)...)
	for i, s := range n.Secrets {
		mistakes = append(mistakes, checkSecret(fmt.Sprintf("/secrets/%d", i), n.Kind, s.Secret, s.ExpiresAt)...)
	}
	switch {
	case n.Kind == kindHMAC && n.HMAC == nil:
		mistakes = append(mistakes, fault.Detail{Pointer: "/hmac", Detail: "is required for the kind hmac"})
	case n.Kind == kindHMAC:
		mistakes = append(mistakes, n.HMAC.check()...)
	case n.HMAC != nil:
		mistakes = append(mistakes, fault.Detail{Pointer: "/hmac", Detail: "is for the kind hmac only; remove it"})
	}
	return mistakes
}

// Validate gives the mistakes that need no knowledge of the source.
func (p SourcePatch) Validate() []fault.Detail {
	var mistakes []fault.Detail
	if p.Name != nil {
		mistakes = checkSourceName(*p.Name)
	}
	seen := map[string]bool{}
	for i, s := range p.Secrets {
		pointer := fmt.Sprintf("/secrets/%d", i)
		switch {
		case (s.ID == "") == (s.Secret == ""):
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: "must have either the id of a secret to keep or a secret to add"})
		case s.ID != "" && seen[strings.ToLower(s.ID)]:
			mistakes = append(mistakes, fault.Detail{Pointer: pointer + "/id", Detail: "stands in this list before"})
		}
		seen[strings.ToLower(s.ID)] = true
	}
	return mistakes
}

func checkSourceName(name string) []fault.Detail {
	if name != "" && strings.TrimSpace(name) == "" {
		return []fault.Detail{{Pointer: "/name", Detail: "must not be blank"}}
	}
	return httpapi.CheckText("/name", name, 200)
}

// maxSecret is the longest secret in bytes: vendors' own have less than 100.
const maxSecret = 512

// checkSecret finds what cannot be a secret, most of all one that was copied with
// something around it. The secret itself is not repeated.
func checkSecret(pointer, kind, secret, expiresAt string) []fault.Detail {
	_, mistakes := httpapi.ParseTime(pointer+"/expires_at", expiresAt)
	wrong := ""
	switch _, err := standardKey(secret); {
	case len(secret) > maxSecret:
		wrong = fmt.Sprintf("must have at most %d bytes", maxSecret)
	case strings.TrimSpace(secret) != secret || strings.IndexFunc(secret, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		wrong = "must have no white space around it and no control characters"
	case kind == kindStandard && err != nil:
		wrong = err.Error()
	}
	if wrong != "" {
		mistakes = append(mistakes, fault.Detail{Pointer: pointer + "/secret", Detail: wrong})
	}
	return mistakes
}

// Sizes of a key of Standard Webhooks ("Signature scheme").
const (
	standardPrefix   = "whsec_"
	minStandardBytes = 24
	maxStandardBytes = 64
)

// standardKey gives the key that a secret of Standard Webhooks stands for.
func standardKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, standardPrefix))
	if err != nil || len(key) < minStandardBytes || len(key) > maxStandardBytes {
		return nil, fmt.Errorf("must be %s and %d to %d bytes in base64", standardPrefix, minStandardBytes, maxStandardBytes)
	}
	return key, nil
}
