package sources_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/sealed"
	"github.com/signalstack/signalstack/internal/sources"
)

// bundle is the HTTP face of sources on a database, as one process serves it.
type bundle struct {
	db      *pg.DB
	api     *sources.API
	handler http.Handler
}

func boxOf(t *testing.T, b byte) *sealed.Box {
	t.Helper()
	box, err := sealed.New(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32))))
	require.NoError(t, err)
	return box
}

func start(t *testing.T, db *pg.DB) *bundle {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	acceptor := events.NewAcceptor(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 500}, jobs.NewRegistry(), log)
	b := &bundle{db: db, api: sources.New(db, boxOf(t, 'a'), log)}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { acceptor.Run(ctx) })
	running.Go(func() { b.api.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 64 << 10, Log: log, Fault: pg.Fault})
	b.api.Routes(api, acceptor)
	b.handler = contract.Handler(t, api)
	return b
}

func (b *bundle) send(method, path, body string, header ...string) *httptest.ResponseRecorder {
	return contract.Send(b.handler, method, path, body, header...)
}

func (b *bundle) source(t *testing.T, status int, method, path, body string) sources.Source {
	t.Helper()
	return contract.Decode[sources.Source](t, b.send(method, path, body), status)
}

// make makes a source with the secret "secret".
func (b *bundle) make(t *testing.T, kind string, more ...string) sources.Source {
	t.Helper()
	secret := "secret"
	if kind == "standard-webhooks" {
		secret = standardOther
	}
	return b.source(t, 201, http.MethodPost, "/sources", fmt.Sprintf(`{"name":"n","kind":%q,"secrets":[{"secret":%q}]%s}`, kind, secret, strings.Join(more, "")))
}

func (b *bundle) events(t *testing.T) int {
	t.Helper()
	var n int
	require.NoError(t, b.db.GetContext(t.Context(), &n, `SELECT count(*) FROM signalstack.events`))
	return n
}

// signed are the headers of a GitHub delivery.
func signed(secret, id, body string) []string {
	return []string{"X-Hub-Signature-256", "sha256=" + hexOf(secret, body), "X-GitHub-Event", "star", "X-GitHub-Delivery", id}
}

const star = `{"action" : "created", "z": 9007199254740993, "a": "\u0000",
	"repository": {"url": "https://api.github.com/repos/a/b"}}
`

func TestDeliveryIsStoredByteForByteAndCounted(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "github", `,"tenant":"acme"`)
	require.Equal(t, "/sources/"+s.ID.String(), s.Path)
	got := contract.Decode[sources.Received](t, b.send(http.MethodPost, s.Path, star, signed("secret", "d-1", star)...), 200)
	var e struct {
		Tenant, Type, Source string
		SenderID             string `db:"sender_id"`
		Data                 []byte
	}
	require.NoError(t, b.db.GetContext(t.Context(), &e, `SELECT tenant, type, source, sender_id, data FROM signalstack.events WHERE id = $1`, got.EventID))
	require.Equal(t, []string{"acme", "com.github.star.created", "https://api.github.com/repos/a/b", "d-1", star}, []string{e.Tenant, e.Type, e.Source, e.SenderID, string(e.Data)})

	s = b.source(t, 200, http.MethodGet, s.Path, "")
	require.Equal(t, int64(1), s.Counts.Accepted)
	require.NotNil(t, s.Counts.LastAcceptedAt)
	require.Zero(t, s.Counts.Rejected+s.Counts.Duplicates)
}

func TestDeliveryThatComesAgainIsAnsweredAsTheFirst(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	one, two := start(t, db), start(t, db)
	s := one.make(t, "github")
	first := one.send(http.MethodPost, s.Path, star, signed("secret", "d-1", star)...)
	require.Equal(t, 200, first.Code, first.Body)
	require.Empty(t, first.Header().Get("Idempotency-Replayed"))
	changed := `{"repository":{}}` // as Stripe's deliveries are, from one try to the next
	for i, body := range []string{star, changed} {
		again := []*bundle{one, two}[i].send(http.MethodPost, s.Path, body, signed("secret", "d-1", body)...)
		require.Equal(t, 200, again.Code)
		require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
		require.Equal(t, first.Body.String(), again.Body.String())
	}
	require.Equal(t, 1, one.events(t))

	// The same id at another source is another delivery.
	other := one.make(t, "github")
	require.Equal(t, 200, one.send(http.MethodPost, other.Path, star, signed("secret", "d-1", star)...).Code)
	require.Equal(t, 2, one.events(t))
	require.NoError(t, two.api.Flush(t.Context(), db))
	require.Equal(t, int64(2), one.source(t, 200, http.MethodGet, s.Path, "").Counts.Duplicates)
}

func TestDeliveriesInParallelAreOneEvent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	bundles := []*bundle{start(t, db), start(t, db)}
	s := bundles[0].make(t, "github")
	var wg sync.WaitGroup
	answers := make([]*httptest.ResponseRecorder, 60)
	for i := range answers {
		wg.Go(func() {
			answers[i] = bundles[i%2].send(http.MethodPost, s.Path, star, signed("secret", fmt.Sprint("d-", i%3), star)...)
		})
	}
	wg.Wait()
	for i, a := range answers {
		require.Equal(t, 200, a.Code, a.Body)
		require.Equal(t, answers[i%3].Body.String(), a.Body.String())
	}
	require.Equal(t, 3, bundles[0].events(t))
	require.NoError(t, bundles[1].api.Flush(t.Context(), db))
	c := bundles[0].source(t, 200, http.MethodGet, s.Path, "").Counts
	require.Equal(t, []int64{3, 57, 0}, []int64{c.Accepted, c.Duplicates, c.Rejected})
}

func TestForgeryIsRefusedCountedAndNotStored(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "github")
	forged := `{"forged":"very secret words"}`
	for range 20 {
		rec := b.send(http.MethodPost, s.Path, forged, signed("guess", "d-1", forged)...)
		p := contract.Decode[httpapi.Problem](t, rec, 401)
		require.Equal(t, "invalid_signature", p.Code)
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
	}
	require.Equal(t, 401, b.send(http.MethodPost, s.Path, forged).Code)
	require.Equal(t, 401, b.send(http.MethodPost, s.Path, "not even JSON").Code)
	// A true signature over what is no event is the sender's mistake, and counted too.
	p := contract.Decode[httpapi.Problem](t, b.send(http.MethodPost, s.Path, "[1", signed("secret", "d", "[1")...), 400)
	require.Equal(t, "invalid_delivery", p.Code)

	c := b.source(t, 200, http.MethodGet, s.Path, "").Counts
	require.Equal(t, int64(23), c.Rejected)
	require.Contains(t, c.LastRejectedReason, "not JSON")
	require.NotNil(t, c.LastRejectedAt)
	require.Zero(t, c.Accepted+c.Duplicates)
	require.Zero(t, b.events(t))
	var found int
	require.NoError(t, b.db.GetContext(t.Context(), &found, `
		SELECT (SELECT count(*) FROM signalstack.idempotency_keys) + (SELECT count(*) FROM signalstack.source_counts WHERE last_rejected_reason LIKE '%words%')`))
	require.Zero(t, found)
	// What was refused does not stand in the way of the true delivery.
	require.Equal(t, 200, b.send(http.MethodPost, s.Path, star, signed("secret", "d-1", star)...).Code)
}

func TestSecretsAreChangedWithoutAGap(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "github")
	status := func(secret string) int {
		return b.send(http.MethodPost, s.Path, star, signed(secret, secret, star)...).Code
	}
	require.Equal(t, []int{200, 401}, []int{status("secret"), status("next")})

	old := s.Secrets[0].ID.String()
	s = b.source(t, 200, http.MethodPatch, s.Path, `{"secrets":[{"id":"`+old+`"},{"secret":"next"}]}`)
	require.Len(t, s.Secrets, 2)
	require.Equal(t, []int{200, 200}, []int{status("secret"), status("next")})

	// One that has expired proves nothing, from its time on.
	next := s.Secrets[1].ID.String()
	s = b.source(t, 200, http.MethodPatch, s.Path, `{"secrets":[{"id":"`+old+`","expires_at":"2020-01-01T00:00:00Z"},{"id":"`+next+`","expires_at":"2999-01-01T00:00:00+01:00"}]}`)
	require.Equal(t, "2998-12-31T23:00:00Z", s.Secrets[1].ExpiresAt.Format(time.RFC3339))
	require.Equal(t, []int{401, 200}, []int{status("secret"), status("next")})

	s = b.source(t, 200, http.MethodPatch, s.Path, `{"secrets":[{"id":"`+next+`"}]}`)
	require.Len(t, s.Secrets, 1)
	require.Nil(t, s.Secrets[0].ExpiresAt)
	require.Equal(t, []int{401, 200}, []int{status("secret"), status("next")})
	b.source(t, 200, http.MethodPatch, s.Path, `{"secrets":[]}`)
	p := contract.Decode[httpapi.Problem](t, b.send(http.MethodPost, s.Path, star, signed("next", "d", star)...), 401)
	require.Contains(t, p.Detail, "no secret")
}

func TestSecretsAreSealedAndNeverShown(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	created := b.send(http.MethodPost, "/sources", `{"name":"n","kind":"stripe","secrets":[{"secret":"whsec_hunter2hunter2"}]}`)
	s := contract.Decode[sources.Source](t, created, 201)
	for _, rec := range []*httptest.ResponseRecorder{
		created, b.send(http.MethodGet, s.Path, ""), b.send(http.MethodGet, "/sources", ""), b.send(http.MethodPatch, s.Path, `{"name":"m"}`),
		b.send(http.MethodPost, "/sources", `{"name":"","kind":"standard-webhooks","secrets":[{"secret":"hunter2"}]}`),
		b.send(http.MethodPost, s.Path, "{}", stripe("other", "{}")...),
	} {
		require.NotContains(t, rec.Body.String(), "hunter2")
	}
	var stored string
	require.NoError(t, b.db.GetContext(t.Context(), &stored, `SELECT encode(secrets, 'escape') || s::text FROM signalstack.sources AS s`))
	require.NotContains(t, stored, "hunter2")
	// Sealed secrets open for their own source only.
	other := b.make(t, "stripe")
	_, err := b.db.ExecContext(t.Context(), `UPDATE signalstack.sources SET secrets = (SELECT secrets FROM signalstack.sources WHERE id = $1) WHERE id = $2`, s.ID, other.ID)
	require.NoError(t, err)
	require.Equal(t, 500, b.send(http.MethodPost, other.Path, "{}", stripe("whsec_hunter2hunter2", "{}")...).Code)
}

func TestOtherKeyIsNoticedAtTheStart(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	log := slog.New(slog.DiscardHandler)
	require.NoError(t, sources.New(b.db, boxOf(t, 'b'), log).CheckKey(t.Context()), "there is none")
	b.make(t, "github")
	require.NoError(t, b.api.CheckKey(t.Context()))
	err := sources.New(b.db, boxOf(t, 'b'), log).CheckKey(t.Context())
	require.ErrorIs(t, err, sealed.ErrOtherKey)
	require.ErrorContains(t, err, "SIGNALSTACK_SECRET_KEY")
	require.ErrorIs(t, sources.New(b.db, sealed.Plain(), log).CheckKey(t.Context()), sealed.ErrOtherKey)
}

func TestChallengeOfSlackIsGivenBackWhenItIsSigned(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "slack")
	body := `{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}`
	rec := b.send(http.MethodPost, s.Path, body, slackAt("secret", body, time.Now().Unix())...)
	require.Equal(t, 200, rec.Code, rec.Body)
	require.JSONEq(t, `{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}`, rec.Body.String())
	require.Equal(t, 401, b.send(http.MethodPost, s.Path, body, slackAt("guess", body, time.Now().Unix())...).Code)
	require.Equal(t, 401, b.send(http.MethodPost, s.Path, body, slackAt("secret", body, time.Now().Add(-time.Hour).Unix())...).Code)
	require.Zero(t, b.events(t))
	require.Zero(t, b.source(t, 200, http.MethodGet, s.Path, "").Counts.Accepted)

	event := `{"type":"event_callback","team_id":"T1","event_id":"Ev1","event":{"type":"app_mention"}}`
	for range 2 {
		require.Equal(t, 200, b.send(http.MethodPost, s.Path, event, slackAt("secret", event, time.Now().Unix())...).Code)
	}
	require.Equal(t, 1, b.events(t))
}

// TestVendorIsAnsweredBeforeItGivesUp keeps events from being stored: Slack, which
// waits for three seconds, is answered long before the patience of POST /events, and
// its next try is the same event, whatever became of the first.
func TestVendorIsAnsweredBeforeItGivesUp(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "slack")
	event := `{"type":"event_callback","event_id":"Ev1","event":{"type":"app_mention"}}`
	require.Equal(t, 200, b.send(http.MethodPost, b.make(t, "github").Path, star, signed("secret", "warm-up", star)...).Code)
	tx, err := b.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE signalstack.events IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	began := time.Now()
	rec := b.send(http.MethodPost, s.Path, event, slackAt("secret", event, began.Unix())...)
	require.Equal(t, 503, rec.Code, rec.Body)
	require.NotEmpty(t, rec.Header().Get("Retry-After"))
	require.Less(t, time.Since(began), 8*time.Second)
	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool {
		return b.send(http.MethodPost, s.Path, event, slackAt("secret", event, time.Now().Unix())...).Code == 200
	}, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, 2, b.events(t))
}

func TestSourcesThatAreNotThereOrDisabled(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	nowhere := "/sources/5f0c7a52-3d5e-4f0e-9d7b-8a3b4c1d2e6f"
	require.Equal(t, 404, b.send(http.MethodPost, nowhere, star, signed("secret", "d", star)...).Code)
	require.Equal(t, 422, b.send(http.MethodPost, "/sources/7", star).Code)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		require.Equal(t, 404, b.send(method, nowhere, "").Code)
	}
	require.Equal(t, 404, b.send(http.MethodPatch, nowhere, `{"name":"n"}`).Code)
	require.Equal(t, 405, b.send(http.MethodPut, nowhere, star).Code)

	s := b.make(t, "github", `,"enabled":false`)
	p := contract.Decode[httpapi.Problem](t, b.send(http.MethodPost, s.Path, star, signed("secret", "d", star)...), 403)
	require.Equal(t, "source_disabled", p.Code)
	b.source(t, 200, http.MethodPatch, s.Path, `{"enabled":true}`)
	require.Equal(t, 200, b.send(http.MethodPost, s.Path, star, signed("secret", "d", star)...).Code)
	require.Equal(t, 204, b.send(http.MethodDelete, s.Path, "").Code)
	require.Equal(t, 404, b.send(http.MethodPost, s.Path, star, signed("secret", "e", star)...).Code)
	require.Equal(t, 1, b.events(t), "events stay")
}

func TestBodiesThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "github")
	large := `"` + strings.Repeat("a", 64<<10) + `"`
	require.Equal(t, 413, b.send(http.MethodPost, s.Path, large, signed("secret", "d", large)...).Code)
	require.Equal(t, 400, b.send(http.MethodPost, s.Path, "", signed("secret", "d", "")...).Code)
	require.Equal(t, 415, b.send(http.MethodPost, s.Path, star, append(signed("secret", "d", star), "Content-Encoding", "gzip")...).Code)
	// The media type is the vendor's affair.
	require.Equal(t, 200, b.send(http.MethodPost, s.Path, star, append(signed("secret", "d", star), "Content-Type", "text/plain")...).Code)
	// What the event could not hold is said, not stored and counted.
	for _, id := range []string{strings.Repeat("d", 256), "d\xff"} {
		require.Equal(t, 400, b.send(http.MethodPost, s.Path, star, signed("secret", id, star)...).Code, id)
	}
	require.Equal(t, int64(2), b.source(t, 200, http.MethodGet, s.Path, "").Counts.Rejected)
	require.Equal(t, 1, b.events(t))
}

func TestCountsOutliveFailuresAndAreAddedUp(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	db, watch := pgtest.Open(t, dsn), pgtest.Open(t, dsn)
	log := slog.New(slog.DiscardHandler)
	acceptor := events.NewAcceptor(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 10}, jobs.NewRegistry(), log)
	b := &bundle{db: watch, api: sources.New(db, boxOf(t, 'a'), log)} // nothing flushes by itself
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: log, Fault: pg.Fault})
	b.api.Routes(api, acceptor)
	b.handler = api.Handler()
	s, gone := b.make(t, "github"), b.make(t, "github")
	for _, path := range []string{s.Path, gone.Path, s.Path} {
		require.Equal(t, 401, b.send(http.MethodPost, path, star, signed("guess", "d", star)...).Code)
	}
	require.Equal(t, 204, b.send(http.MethodDelete, gone.Path, "").Code)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, b.api.Flush(canceled, db))
	require.Equal(t, 401, b.send(http.MethodPost, s.Path, star, signed("guess", "d", star)...).Code)
	require.NoError(t, b.api.Flush(t.Context(), db))
	require.NoError(t, b.api.Flush(t.Context(), db))
	require.Equal(t, int64(3), b.source(t, 200, http.MethodGet, s.Path, "").Counts.Rejected)
}
