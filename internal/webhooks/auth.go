package webhooks

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/outbound"
)

// Auth is how a receiver knows, beside the signature, who calls it.
type Auth struct {
	Type         string            `json:"type" enum:"bearer,basic,oauth2,none" doc:"bearer: a fixed token; basic: a user and a password; oauth2: a token of the client credentials grant (RFC 6749, section 4.4), kept until it is over; none: ends it"`
	Token        string            `json:"token,omitempty" doc:"Of bearer"`
	Username     string            `json:"username,omitempty" doc:"Of basic"`
	Password     string            `json:"password,omitempty" doc:"Of basic"`
	TokenURL     string            `json:"token_url,omitempty" doc:"Of oauth2: where tokens are given"`
	ClientID     string            `json:"client_id,omitempty" doc:"Of oauth2"`
	ClientSecret string            `json:"client_secret,omitempty" doc:"Of oauth2"`
	Scopes       []string          `json:"scopes,omitempty" nullable:"false" maxItems:"50" doc:"Of oauth2"`
	Parameters   map[string]string `json:"parameters,omitempty" doc:"Of oauth2: more form fields of the request for a token, such as audience"`
}

// The types of Auth.
const (
	authBearer = "bearer"
	authBasic  = "basic"
	authOAuth2 = "oauth2"
	authNone   = "none"
)

// TLSFiles are certificates that an endpoint needs, in PEM.
type TLSFiles struct {
	CA          string `json:"ca,omitempty" doc:"Certificates of authorities that are trusted as well as the public ones"`
	Certificate string `json:"certificate,omitempty" doc:"Client certificate with its chain, for mutual TLS"`
	Key         string `json:"key,omitempty" doc:"Private key of the client certificate; kept like a secret"`
}

func (f TLSFiles) tls() outbound.TLS {
	return outbound.TLS{CA: f.CA, Certificate: f.Certificate, Key: f.Key}
}

// check gives what is wrong with the files.
func (f *TLSFiles) check() []fault.Detail {
	if f == nil {
		return nil
	}
	return f.tls().Check("/tls/ca", "/tls/certificate", "/tls/key")
}

// credentials are sealed together.
type credentials struct {
	Auth *Auth     `json:"auth,omitempty"`
	TLS  *TLSFiles `json:"tls,omitempty"`
}

// fields gives the fields of an auth by their names, those of its type and the others.
func (a *Auth) fields() (own, others map[string]*string) {
	all := map[string]map[string]*string{
		authBearer: {"token": &a.Token},
		authBasic:  {"username": &a.Username, "password": &a.Password},
		authOAuth2: {"token_url": &a.TokenURL, "client_id": &a.ClientID, "client_secret": &a.ClientSecret},
	}
	others = map[string]*string{}
	for name, fields := range all {
		if name == a.Type {
			own = fields
			continue
		}
		maps.Copy(others, fields)
	}
	return own, others
}

// maxCredential bounds each text of an auth, in characters.
const maxCredential = 4096

// check gives the mistakes that need no database. headers are those of the endpoint.
func (a *Auth) check(headers map[string]string, guard *outbound.Guard) []fault.Detail {
	if a == nil {
		return nil
	}
	own, others := a.fields()
	var mistakes []fault.Detail
	wrong := func(field, detail string) {
		mistakes = append(mistakes, fault.Detail{Pointer: "/auth/" + field, Detail: detail})
	}
	for name, value := range own {
		if *value == "" && name != "password" {
			wrong(name, "is required for type "+a.Type)
		}
		mistakes = append(mistakes, httpapi.CheckText("/auth/"+name, *value, maxCredential)...)
		if strings.ContainsAny(*value, "\r\n") {
			wrong(name, "must be one line")
		}
	}
	for name, value := range others {
		if *value != "" {
			wrong(name, "does not go with type "+a.Type+"; remove it")
		}
	}
	switch {
	case a.Type == authBasic && strings.Contains(a.Username, ":"):
		wrong("username", "must not have a colon (RFC 7617, section 2)")
	case a.Type == authOAuth2 && a.TokenURL != "":
		mistakes = append(mistakes, guard.Check("/auth/token_url", a.TokenURL)...)
	case a.Type != authOAuth2 && (len(a.Scopes) > 0 || len(a.Parameters) > 0):
		wrong("scopes", "and parameters go with type oauth2 only; remove them")
	}
	for name := range headers {
		if a.Type != authNone && http.CanonicalHeaderKey(name) == "Authorization" {
			wrong("type", "sets the header Authorization; remove it from headers")
		}
	}
	return mistakes
}

// shown hides the secrets of an auth.
func (a *Auth) shown() *Auth {
	if a == nil {
		return nil
	}
	s := *a
	for _, secret := range []*string{&s.Token, &s.Password, &s.ClientSecret} {
		if *secret != "" {
			*secret = hidden
		}
	}
	if s.Parameters != nil {
		s.Parameters = maps.Clone(s.Parameters)
		for name := range s.Parameters {
			s.Parameters[name] = hidden
		}
	}
	return &s
}

// keep puts the present values where a patch has the text that stands for them.
func (a *Auth) keep(present *Auth) []fault.Detail {
	if present == nil || present.Type != a.Type {
		present = &Auth{}
	}
	var mistakes []fault.Detail
	own, _ := a.fields()
	before, _ := (&Auth{Type: a.Type}).fields()
	if present.Type == a.Type {
		before, _ = present.fields()
	}
	for name, value := range own {
		if *value != hidden {
			continue
		}
		if *value = *before[name]; *value == "" {
			mistakes = append(mistakes, fault.Detail{Pointer: "/auth/" + name, Detail: "has no value to keep; give one"})
		}
	}
	for name, value := range a.Parameters {
		if value == hidden {
			a.Parameters[name] = present.Parameters[name]
		}
	}
	return mistakes
}

// applyCredentials changes what a patch has of them.
func (p EndpointPatch) applyCredentials(c *credentials) (mistakes []fault.Detail) {
	if p.Auth != nil {
		mistakes = p.Auth.keep(c.Auth)
		if c.Auth = p.Auth; p.Auth.Type == authNone {
			c.Auth = nil
		}
	}
	if p.TLS != nil {
		files := *p.TLS
		if files.Key == hidden && c.TLS != nil {
			files.Key = c.TLS.Key
		}
		if c.TLS = &files; files == (TLSFiles{}) {
			c.TLS = nil
		}
	}
	return mistakes
}

// tokens are the OAuth2 tokens that this process has, by endpoint.
type tokens struct {
	mu   sync.Mutex
	kept map[uuid.UUID]*token
}

// token is that of one endpoint. Its lock is held while one is fetched, so that a
// crowd of deliveries asks once.
type token struct {
	mu    sync.Mutex
	of    [sha256.Size]byte // the auth that it was got with
	value *oauth2.Token
}

// maxTokens bounds how many are kept; beyond it all are fetched anew.
const maxTokens = 10_000

func (t *tokens) of(id uuid.UUID) *token {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil || len(t.kept) >= maxTokens {
		t.kept = map[uuid.UUID]*token{}
	}
	if t.kept[id] == nil {
		t.kept[id] = &token{}
	}
	return t.kept[id]
}

// forget drops the token of an endpoint that was not taken.
func (t *tokens) forget(id uuid.UUID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.kept, id)
}

// get gives a token that is still good, or fetches one.
func (t *token) get(ctx context.Context, a *Auth, client *http.Client) (*oauth2.Token, error) {
	text, err := json.Marshal(a) //nolint:gosec // for its hash only
	if err != nil {
		return nil, fmt.Errorf("read the auth: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := sha256.Sum256(text); t.of != of {
		t.of, t.value = of, nil
	}
	if t.value.Valid() {
		return t.value, nil
	}
	parameters := url.Values{}
	for name, value := range a.Parameters {
		parameters.Set(name, value)
	}
	cfg := clientcredentials.Config{
		ClientID: a.ClientID, ClientSecret: a.ClientSecret, TokenURL: a.TokenURL, Scopes: a.Scopes, EndpointParams: parameters,
	}
	t.value, err = cfg.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return nil, tokenError(err)
	}
	return t.value, nil
}

// tokenError says why no token came, without what may show a secret.
func tokenError(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("the token endpoint answered %d %s", refused.Response.StatusCode, refused.ErrorCode)
	}
	return fmt.Errorf("get a token: %w", outbound.HideInError(err))
}

// authorize adds to a request what the endpoint's auth and TLS say.
func (d *deliverer) authorize(ctx context.Context, to target, r *outbound.Request) error {
	if to.credentials.TLS != nil {
		r.TLS = to.credentials.TLS.tls()
	}
	a := to.credentials.Auth
	if a == nil {
		return nil
	}
	r.Hidden = append(r.Hidden, "Authorization")
	switch a.Type {
	case authBearer:
		r.Header.Set("Authorization", "Bearer "+a.Token)
	case authBasic:
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password)))
	case authOAuth2:
		client, err := d.client.HTTP(r.TLS)
		if err != nil {
			return err
		}
		got, err := d.tokens.of(to.ID).get(ctx, a, client)
		if err != nil {
			return err
		}
		got.SetAuthHeader(&http.Request{Header: r.Header})
	}
	return nil
}

// certificateEnd is when the endpoint's client certificate ends; nil without one.
func (c credentials) certificateEnd() *time.Time {
	if c.TLS == nil || c.TLS.Certificate == "" {
		return nil
	}
	end := c.TLS.tls().Expires().UTC()
	return &end
}
