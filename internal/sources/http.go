package sources

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/sealed"
)

// API serves the sources and takes what is sent to them.
type API struct {
	db      *pg.DB
	box     *sealed.Box
	log     *slog.Logger
	counter counter
	events  *events.Acceptor
}

// New makes an API; Run must run for counts to be written by themselves.
func New(db *pg.DB, box *sealed.Box, log *slog.Logger) *API {
	return &API{db: db, box: box, log: log}
}

// Routes lists the operations on sources, of which POST /sources/{id} is for the
// vendors. Its events go to the acceptor.
func (a *API) Routes(api *httpapi.API, acceptor *events.Acceptor) {
	a.events = acceptor
	httpapi.RegisterRaw(api, httpapi.Operation{
		OperationID: "receive-webhook", Method: http.MethodPost, Path: "/sources/{id}", Tags: []string{"sources"},
		Summary: "Take a webhook of a vendor in",
		Description: "The signature is verified as the kind of the source has it, over the bytes of the body. What is not proved to be the " +
			"vendor's is answered 401 and not stored. A delivery that came before is answered as the first time.",
	}, a.receive)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "create-source", Method: http.MethodPost, Path: "/sources", DefaultStatus: http.StatusCreated, Tags: []string{"sources"},
		Summary: "Create a source", Description: "Its path is where the vendor sends its webhooks.",
	}, httpapi.OneLoose[NewSource](), a.create)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "list-sources", Method: http.MethodGet, Path: "/sources", Tags: []string{"sources"}, Summary: "List sources, oldest first",
	}, a.list)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-source", Method: http.MethodGet, Path: "/sources/{id}", Tags: []string{"sources"}, Summary: "Get a source with its counts",
		Description: "What other processes counted may be a second old.",
	}, a.get)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "update-source", Method: http.MethodPatch, Path: "/sources/{id}", Tags: []string{"sources"},
		Summary: "Change some fields of a source", Description: "Fields that are absent stay as they are. The change holds from the next delivery on.",
	}, httpapi.OneLoose[SourcePatch](), a.update)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "delete-source", Method: http.MethodDelete, Path: "/sources/{id}", DefaultStatus: http.StatusNoContent, Tags: []string{"sources"},
		Summary: "Delete a source", Description: "Its events stay.",
	}, a.remove)
}

type sourceOut struct{ Body Source }

type byID struct {
	ID string `path:"id" format:"uuid" doc:"The source's id"`
}

func (a *API) create(ctx context.Context, _ *struct{ httpapi.JSONBody }, given httpapi.Item[NewSource]) (*sourceOut, error) {
	if err := given.Err(); err != nil {
		return nil, err
	}
	n := given.Value
	t := target{Source: Source{
		// Random, so that an address cannot be guessed from another.
		ID: uuid.New(), Tenant: n.Tenant, Name: n.Name, Kind: n.Kind, HMAC: n.HMAC, Enabled: n.Enabled == nil || *n.Enabled,
	}, secrets: []secret{}}
	if t.Tenant == "" {
		t.Tenant = httpapi.Tenant(ctx)
	}
	now, err := clock(ctx, a.db)
	if err != nil {
		return nil, err
	}
	for _, s := range n.Secrets {
		t.secrets = append(t.secrets, newSecret(s.Secret, s.ExpiresAt, now))
	}
	stored, err := insert(ctx, a.db, a.box, t)
	if err != nil {
		return nil, err
	}
	return &sourceOut{Body: stored.Source}, nil
}

func newSecret(value, expiresAt string, now time.Time) secret {
	return secret{Value: value, Secret: Secret{
		ID: uuid.Must(uuid.NewV7()), CreatedAt: now.UTC().Truncate(time.Microsecond), ExpiresAt: expiry(expiresAt),
	}}
}

// expiry reads a time that was checked; nil is never.
func expiry(text string) *time.Time {
	at, _ := httpapi.ParseTime("", text)
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

type listIn struct {
	Tenant string `query:"tenant"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (a *API) list(ctx context.Context, in *listIn) (*httpapi.PageOut[Source], error) {
	l := httpapi.List{Path: "/sources", Filters: map[string]string{"tenant": in.Tenant}}
	key, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	var after place
	if at, id, ok := strings.Cut(key, " "); ok {
		after.at, _ = httpapi.ParseTime("", at)
		after.id, _ = uuid.Parse(id)
	}
	if err := a.counter.flush(ctx, a.db); err != nil {
		return nil, err
	}
	rows, err := list(ctx, a.db, a.box, in.Tenant, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return httpapi.NewPage(rows, in.Limit, l, func(s Source) string { return place{at: s.CreatedAt}.text() + " " + s.ID.String() }), nil
}

func (a *API) get(ctx context.Context, in *byID) (*sourceOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.counter.flush(ctx, a.db); err != nil {
		return nil, err
	}
	t, err := get(ctx, a.db, a.box, id, false)
	if err != nil {
		return nil, err
	}
	return &sourceOut{Body: t.Source}, nil
}

type updateIn struct {
	httpapi.JSONBody
	ID string `path:"id" format:"uuid" doc:"The source's id"`
}

func (a *API) update(ctx context.Context, in *updateIn, given httpapi.Item[SourcePatch]) (*sourceOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	out := &sourceOut{}
	err = pg.InTx(ctx, a.db, func(tx *sqlx.Tx) error {
		t, err := get(ctx, tx, a.box, id, true)
		if err != nil {
			return err
		}
		given.Add(given.Value.apply(&t)...)
		if err := given.Err(); err != nil {
			return err
		}
		t, err = update(ctx, tx, a.box, t)
		out.Body = t.Source
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// apply changes a source. Its mistakes are those that show only beside what is
// there.
func (p SourcePatch) apply(t *target) []fault.Detail {
	var mistakes []fault.Detail
	if p.Name != nil {
		t.Name = *p.Name
	}
	if p.Enabled != nil {
		t.Enabled = *p.Enabled
	}
	if p.HMAC != nil {
		if t.Kind != kindHMAC {
			mistakes = append(mistakes, fault.Detail{Pointer: "/hmac", Detail: "is for the kind hmac only; remove it"})
		}
		mistakes = append(mistakes, p.HMAC.check()...)
		t.HMAC = p.HMAC
	}
	if p.Secrets == nil {
		return mistakes
	}
	secrets := []secret{}
	for i, change := range p.Secrets {
		s, wrong := change.apply(fmt.Sprintf("/secrets/%d", i), t)
		secrets, mistakes = append(secrets, s), append(mistakes, wrong...)
	}
	t.secrets = secrets
	return mistakes
}

// apply gives the secret that a change keeps or adds.
func (c SecretChange) apply(pointer string, t *target) (secret, []fault.Detail) {
	mistakes := checkSecret(pointer, t.Kind, c.Secret, c.ExpiresAt)
	if c.ID == "" {
		return newSecret(c.Secret, c.ExpiresAt, t.now), mistakes
	}
	_, mistakes = httpapi.ParseTime(pointer+"/expires_at", c.ExpiresAt)
	for _, s := range t.secrets {
		if strings.EqualFold(s.ID.String(), c.ID) {
			s.ExpiresAt = expiry(c.ExpiresAt)
			return s, mistakes
		}
	}
	return secret{}, append(mistakes, fault.Detail{Pointer: pointer + "/id", Detail: "is no secret of this source"})
}

func (a *API) remove(ctx context.Context, in *byID) (*struct{}, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, remove(ctx, a.db, id)
}

type receiveIn struct {
	httpapi.RawRequest
	ID string `path:"id" format:"uuid" doc:"The source's id"`
}

type receiveOut struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true when this delivery came before"`
	Body     Received
}

// Received answers a delivery.
type Received struct {
	EventID   string `json:"event_id,omitempty" format:"uuid" doc:"The event that the delivery is"`
	Challenge string `json:"challenge,omitempty" doc:"In place of an event: Slack's challenge, given back"`
}

func (a *API) receive(ctx context.Context, in *receiveIn, header http.Header, body []byte) (*receiveOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	answer, replayed, err := a.take(ctx, id, header, body)
	if err != nil {
		return nil, err
	}
	out := &receiveOut{Body: answer}
	if replayed {
		out.Replayed = "true"
	}
	return out, nil
}
