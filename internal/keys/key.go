package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// Scope is what a key may do. Admin may do everything.
type Scope string

// The scopes.
const (
	Admin  Scope = "admin"
	Ingest Scope = "ingest"
	Work   Scope = "work"
	Read   Scope = "read"
)

// NewKey asks for a key.
type NewKey struct {
	Name      string   `json:"name,omitempty" doc:"For people"`
	Scopes    []string `json:"scopes" minItems:"1" maxItems:"4" uniqueItems:"true" enum:"admin,ingest,work,read" doc:"read: GET and tries that store nothing; ingest: send events and create jobs; work: the protocol of workers; admin: everything"`
	Tenant    string   `json:"tenant,omitempty" doc:"The only tenant that the key acts for; default: all, and the caller's for a caller that acts for one"`
	ExpiresAt string   `json:"expires_at,omitempty" format:"date-time" doc:"When it ends; default: never"`
}

// Validate gives the mistakes that the schema does not know.
func (n NewKey) Validate() []fault.Detail {
	mistakes := append(httpapi.CheckText("/name", n.Name, 200), httpapi.CheckName("/tenant", n.Tenant)...)
	_, wrong := httpapi.ParseTime("/expires_at", n.ExpiresAt)
	return append(mistakes, wrong...)
}

// Key is a key as it is shown.
type Key struct {
	ID         uuid.UUID  `json:"id"`
	Key        string     `json:"key,omitempty" doc:"Only in the answer that makes it; keep it"`
	Prefix     string     `json:"prefix" doc:"How the key begins, to tell it by"`
	Name       string     `json:"name,omitempty"`
	Scopes     []string   `json:"scopes" nullable:"false"`
	Tenant     string     `json:"tenant,omitempty" doc:"The only tenant that the key acts for; absent: all"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty" doc:"When it ends; absent: never"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty" doc:"Within about a minute; absent: never"`
}

// Keys begin with a mark that scanners for secrets can look for.
const (
	mark       = "ssk_"
	keyBytes   = 32
	shownChars = 8
)

type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// newToken makes the text of a key.
func newToken() string {
	fresh := make([]byte, keyBytes)
	_, _ = rand.Read(fresh) // never fails (crypto/rand)
	return mark + base64.RawURLEncoding.EncodeToString(fresh)
}

func prefixOf(token string) string { return token[:len(mark)+shownChars] }

// looksLikeKey tells what need not be looked for.
func looksLikeKey(token string) bool {
	return strings.HasPrefix(token, mark) && len(token) == len(mark)+base64.RawURLEncoding.EncodedLen(keyBytes)
}
