package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// Permission is what a link to the portal lets do.
type Permission string

// The permissions; Manage lets also read.
const (
	PortalRead   Permission = "read"
	PortalManage Permission = "manage"
)

// Bounds of the life of a link.
const (
	defaultLife = time.Hour
	minLife     = time.Minute
	maxLife     = 7 * 24 * time.Hour
)

// NewLink asks for a link to the portal.
type NewLink struct {
	Tenant      string `json:"tenant,omitempty" doc:"Whose endpoints and deliveries it shows; required of a caller that acts for all tenants"`
	Permissions string `json:"permissions,omitempty" enum:"read,manage" doc:"read: look (default); manage: also create, change, enable and delete endpoints, and send again"`
	ExpiresIn   string `json:"expires_in,omitempty" doc:"How long it can be used, from 1m to 168h; default 1h" example:"1h"`
}

// Validate gives the mistakes that the schema does not know.
func (n NewLink) Validate() []fault.Detail {
	mistakes := httpapi.CheckName("/tenant", n.Tenant)
	if life, err := n.life(); err != nil || life < minLife || life > maxLife {
		mistakes = append(mistakes, fault.Detail{Pointer: "/expires_in", Detail: "must be a duration such as 1h, from 1m to 168h"})
	}
	return mistakes
}

func (n NewLink) life() (time.Duration, error) {
	if n.ExpiresIn == "" {
		return defaultLife, nil
	}
	return time.ParseDuration(n.ExpiresIn)
}

// Link is a link to the portal.
type Link struct {
	Token       string    `json:"token" doc:"Give it as Authorization: Bearer"`
	Path        string    `json:"path" doc:"Of the page, behind this server's address. The token is in the fragment, which browsers send nowhere"`
	Tenant      string    `json:"tenant"`
	Permissions string    `json:"permissions" enum:"read,manage"`
	ExpiresAt   time.Time `json:"expires_at"`
}

// TenantName names a tenant in a body.
type TenantName struct {
	Tenant string `json:"tenant,omitempty" doc:"Whose links; required of a caller that acts for all tenants"`
}

// Validate gives the mistakes that the schema does not know.
func (n TenantName) Validate() []fault.Detail { return httpapi.CheckName("/tenant", n.Tenant) }

// Revocation is when the links of a tenant were revoked.
type Revocation struct {
	Tenant    string    `json:"tenant"`
	NotBefore time.Time `json:"not_before" doc:"Links that were made until then are refused"`
}

// linkMark begins the tokens of links, as mark does keys.
const linkMark = "ssp_"

// purpose names the derived keys that sign links.
const purpose = "portal link 1"

// session is what a link states. Times are in microseconds, as the database has them.
type session struct {
	Tenant     string     `json:"t"`
	Permission Permission `json:"p"`
	MadeAt     int64      `json:"i"`
	EndsAt     int64      `json:"e"`
}

// strict refuses a text that is not the one that its bytes have.
var strict = base64.RawURLEncoding.Strict()

func (s session) sign(key []byte) (string, error) {
	said, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("write a link: %w", err)
	}
	text := linkMark + strict.EncodeToString(said)
	return text + "." + strict.EncodeToString(signature(key, text)), nil
}

func signature(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// readSession gives what a token states when one of the keys signed it.
func readSession(signing [][]byte, token string) (session, bool) {
	text, sum, _ := strings.Cut(token, ".")
	given, err := strict.DecodeString(sum)
	if err != nil {
		return session{}, false
	}
	for _, key := range signing {
		if !hmac.Equal(given, signature(key, text)) {
			continue
		}
		var s session
		said, err := strict.DecodeString(strings.TrimPrefix(text, linkMark))
		if err != nil || json.Unmarshal(said, &s) != nil {
			return session{}, false
		}
		return s, s.Tenant != "" && (s.Permission == PortalRead || s.Permission == PortalManage)
	}
	return session{}, false
}
