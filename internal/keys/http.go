package keys

import (
	"cmp"
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// Routes lists the operations on keys and on links to the portal.
func (r *Ring) Routes(api *httpapi.API) {
	tags := []string{"keys"}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: "/keys", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Make an API key", Description: "The answer has the key, this once; what is stored tells nothing of it.",
	}, httpapi.OneLoose[NewKey](), r.create)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: "/keys", Tags: tags, Summary: "List API keys, oldest first",
	}, r.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "delete-key", Method: http.MethodDelete, Path: "/keys/{id}", DefaultStatus: http.StatusNoContent, Tags: tags,
		Summary: "Revoke an API key", Description: "Other processes refuse it as soon as they are told, which takes milliseconds, or 5 seconds where notifications do not arrive.",
	}, r.remove)
	tags = []string{"portal"}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-portal-link", Method: http.MethodPost, Path: "/portal/links", DefaultStatus: http.StatusCreated, Tags: tags,
		Summary: "Make a link by which a tenant sees its own endpoints and deliveries",
		Description: "The token lets its holder list, get and, with permissions manage, create, change, enable and delete endpoints of the tenant, " +
			"rotate their secrets, and list, get and send again their webhooks; nothing else. It is signed and not stored, and ends by itself.",
	}, httpapi.OneLoose[NewLink](), r.link)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "revoke-portal-links", Method: http.MethodPost, Path: "/portal/revoke", DefaultStatus: http.StatusOK, Tags: tags,
		Summary: "End all links of a tenant that were made until now",
	}, httpapi.OneLoose[TenantName](), r.revoke)
}

type keyOut struct{ Body Key }

func (r *Ring) create(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[NewKey]) (*keyOut, error) {
	n := given.Value
	fresh := row{ID: uuid.Must(uuid.NewV7()), Name: n.Name, Tenant: n.Tenant, Scopes: n.Scopes}
	if at, _ := httpapi.ParseTime("", n.ExpiresAt); !at.IsZero() {
		now, err := pg.Now(ctx, r.db)
		if err != nil {
			return nil, err
		}
		if !at.After(now) {
			given.Add(fault.Detail{Pointer: "/expires_at", Detail: "must be in the future"})
		}
		fresh.ExpiresAt = &at
	}
	if err := given.Err(); err != nil {
		return nil, err
	}
	token := newToken()
	sum := digestOf(token)
	fresh.Hash, fresh.Prefix = sum[:], prefixOf(token)
	stored, err := insert(ctx, r.db, fresh)
	if err != nil {
		return nil, err
	}
	r.outdate()
	out := &keyOut{Body: stored.show()}
	out.Body.Key = token
	return out, nil
}

type listIn struct {
	Tenant string `query:"tenant" doc:"Keys that act for this tenant only"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (r *Ring) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Key], error) {
	l := httpapi.List{Path: "/keys", Filters: map[string]string{"tenant": in.Tenant}}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := list(ctx, r.db, in.Tenant, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(k Key) string { return k.ID.String() }), nil
}

type byID struct {
	ID string `path:"id" format:"uuid" doc:"The key's id"`
}

func (r *Ring) remove(ctx context.Context, in *byID) (*struct{}, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	if err := remove(ctx, r.db, id); err != nil {
		return nil, err
	}
	r.outdate()
	return nil, nil
}

type linkOut struct{ Body Link }

// The faults of a server whose links would be worth nothing, or cannot be made.
var (
	errOff = fault.New(fault.Conflict, "no_admin_key",
		"SIGNALSTACK_ADMIN_KEY is not set, so that whoever reaches this server may do everything; set it before anybody else is let in.")
	errNoSecret = fault.New(fault.Conflict, "no_secret_key",
		"SIGNALSTACK_SECRET_KEY is not set, and links are signed with a key made of it; set it in all processes, for example to the output of: openssl rand -base64 32")
)

// whose completes the mistakes of a body that must say whose links it is about: they
// are never those of a default tenant that nobody thought of.
func whose[T any](given *httpapi.Item[T], tenant string) error {
	if tenant == "" {
		given.Add(fault.Detail{Pointer: "/tenant", Detail: "is missing: say whose links"})
	}
	return given.Err()
}

func (r *Ring) link(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[NewLink]) (*linkOut, error) {
	n := given.Value
	if err := whose(&given, n.Tenant); err != nil {
		return nil, err
	}
	switch {
	case !r.On():
		return nil, errOff
	case len(r.signing) == 0:
		return nil, errNoSecret
	}
	now, err := pg.Now(ctx, r.db)
	if err != nil {
		return nil, err
	}
	life, _ := n.life() // checked
	end := now.Add(life).UTC()
	s := session{Tenant: n.Tenant, Permission: cmp.Or(Permission(n.Permissions), PortalRead), MadeAt: now.UnixMicro(), EndsAt: end.UnixMicro()}
	token, err := s.sign(r.signing[0])
	if err != nil {
		return nil, err
	}
	return &linkOut{Body: Link{Token: token, Path: "/portal#" + token, Tenant: s.Tenant, Permissions: string(s.Permission), ExpiresAt: end}}, nil
}

type revocationOut struct{ Body Revocation }

func (r *Ring) revoke(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[TenantName]) (*revocationOut, error) {
	if err := whose(&given, given.Value.Tenant); err != nil {
		return nil, err
	}
	out, err := revokeLinks(ctx, r.db, given.Value.Tenant)
	if err != nil {
		return nil, err
	}
	r.outdate()
	return &revocationOut{Body: out}, nil
}
