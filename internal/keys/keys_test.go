package keys_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/keys"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

const adminKey = "an admin key is long enough"

// secretKey is a key of 32 bytes that are all the same.
func secretKey(b string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(b, 32)))
}

func newRing(t testing.TB, db *pg.DB, admin, secret string) *keys.Ring {
	t.Helper()
	r, err := keys.NewRing(db, admin, secret, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return r
}

// served gives the operations of a ring, without any access to be granted.
func served(t testing.TB, r *keys.Ring) http.Handler {
	t.Helper()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	r.Routes(api)
	return contract.Handler(t, api)
}

func makeKey(t testing.TB, h http.Handler, body string) keys.Key {
	t.Helper()
	return contract.Decode[keys.Key](t, contract.Send(h, http.MethodPost, "/keys", body), http.StatusCreated)
}

func link(t testing.TB, h http.Handler, body string) keys.Link {
	t.Helper()
	return contract.Decode[keys.Link](t, contract.Send(h, http.MethodPost, "/portal/links", body), http.StatusCreated)
}

// refused says that a ring does not know a token, as it does not know one that never was.
func refused(t testing.TB, r *keys.Ring, token string) {
	t.Helper()
	_, err := r.Caller(t.Context(), token)
	_, never := r.Caller(t.Context(), "ssk_"+strings.Repeat("A", 43))
	require.Equal(t, fault.Unauthorized, fault.As(err).Kind)
	require.Equal(t, never, err)
}

func TestKeysAreShownOnceAndKeptAsDigests(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	r := newRing(t, db, adminKey, "")
	h := served(t, r)
	made := makeKey(t, h, `{"name":"shop","scopes":["ingest","read"],"tenant":"acme"}`)
	require.Regexp(t, `^ssk_[A-Za-z0-9_-]{43}$`, made.Key)
	require.Equal(t, made.Key[:12], made.Prefix)

	rec := contract.Send(h, http.MethodGet, "/keys?tenant=acme", "")
	require.NotContains(t, rec.Body.String(), made.Key)
	listed := contract.Decode[httpapi.Page[keys.Key]](t, rec, 200).Data
	require.Len(t, listed, 1)
	require.Equal(t, made.ID, listed[0].ID)
	require.Nil(t, listed[0].LastUsedAt)
	require.Empty(t, contract.Decode[httpapi.Page[keys.Key]](t, contract.Send(h, http.MethodGet, "/keys?tenant=other", ""), 200).Data)
	var kept string
	require.NoError(t, db.Get(&kept, `SELECT encode(hash, 'escape') || prefix || name FROM signalstack.keys`))
	require.NotContains(t, kept, made.Key)

	caller, err := r.Caller(t.Context(), made.Key)
	require.NoError(t, err)
	require.Equal(t, "acme", caller.Tenant)
	require.True(t, caller.Has(keys.Ingest) && caller.Has(keys.Read))
	require.False(t, caller.Has(keys.Work) || caller.Has(keys.Admin))

	require.Equal(t, 204, contract.Send(h, http.MethodDelete, "/keys/"+made.ID.String(), "").Code)
	refused(t, r, made.Key)
	require.Equal(t, 404, contract.Send(h, http.MethodDelete, "/keys/"+made.ID.String(), "").Code)
}

func TestMistakesOfKeysAndLinks(t *testing.T) {
	t.Parallel()
	h := served(t, newRing(t, pgtest.New(t), adminKey, secretKey("s")))
	for _, c := range [][3]string{
		{"/keys", `{}`, `"pointer":"/scopes"`},
		{"/keys", `{"scopes":[]}`, `"pointer":"/scopes"`},
		{"/keys", `{"scopes":["root"]}`, `"pointer":"/scopes/0"`},
		{"/keys", `{"scopes":["read"],"expires_at":"2020-01-01T00:00:00Z"}`, `must be in the future`},
		{"/keys", `{"scopes":["read"],"tenant":"no such name","name":"\n"}`, `"pointer":"/tenant"`},
		{"/portal/links", `{}`, `say whose links`},
		{"/portal/links", `{"tenant":"acme","expires_in":"169h"}`, `"pointer":"/expires_in"`},
		{"/portal/links", `{"tenant":"acme","permissions":"all"}`, `"pointer":"/permissions"`},
		{"/portal/revoke", `{}`, `say whose links`},
	} {
		rec := contract.Send(h, http.MethodPost, c[0], c[1])
		require.Equal(t, 422, rec.Code, "%s %s: %s", c[0], c[1], rec.Body)
		require.Contains(t, rec.Body.String(), c[2], c[1])
	}
}

func TestLinksNeedBothKeysOfTheConfiguration(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, c := range []struct{ admin, secret, names string }{
		{"", secretKey("s"), "SIGNALSTACK_ADMIN_KEY"}, {adminKey, "", "SIGNALSTACK_SECRET_KEY"},
	} {
		rec := contract.Send(served(t, newRing(t, db, c.admin, c.secret)), http.MethodPost, "/portal/links", `{"tenant":"acme"}`)
		require.Equal(t, 409, rec.Code, rec.Body)
		require.Contains(t, rec.Body.String(), c.names)
	}
}

// TestWhatEndsAKeyEndsItInOtherProcesses lets the other process go by what it knows for
// an hour, unless it is told.
func TestWhatEndsAKeyEndsItInOtherProcesses(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	here := newRing(t, pgtest.Open(t, dsn), adminKey, secretKey("s"))
	there := newRing(t, pgtest.Open(t, dsn), adminKey, secretKey("s"))
	there.Keep(time.Hour)
	listening := pgtest.Open(t, dsn)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { there.Run(ctx, listening) })
	defer running.Wait()
	defer stop()

	h := served(t, here)
	key, visit := makeKey(t, h, `{"scopes":["read"]}`), link(t, h, `{"tenant":"acme","permissions":"manage"}`)
	for _, token := range []string{key.Key, visit.Token} {
		_, err := there.Caller(t.Context(), token)
		require.NoError(t, err)
	}
	// Notifications are heard once a first one was.
	require.Eventually(t, func() bool {
		before := there.Looks()
		makeKey(t, h, `{"scopes":["work"]}`) // a change that is told of
		_, err := there.Caller(t.Context(), key.Key)
		return err == nil && there.Looks() > before
	}, 20*time.Second, 20*time.Millisecond)

	require.Equal(t, 204, contract.Send(h, http.MethodDelete, "/keys/"+key.ID.String(), "").Code)
	require.Equal(t, 200, contract.Send(h, http.MethodPost, "/portal/revoke", `{"tenant":"acme"}`).Code)
	refused(t, here, key.Key)
	refused(t, here, visit.Token)
	for _, token := range []string{key.Key, visit.Token} {
		require.Eventually(t, func() bool {
			_, err := there.Caller(t.Context(), token)
			return err != nil
		}, 20*time.Second, 5*time.Millisecond)
	}
	// Links that are made later, and those of others, are good.
	for _, body := range []string{`{"tenant":"acme"}`, `{"tenant":"other"}`} {
		_, err := here.Caller(t.Context(), link(t, h, body).Token)
		require.NoError(t, err)
	}
}

func TestExpiryGoesByTheClockOfTheDatabase(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	r := newRing(t, pool, adminKey, secretKey("s"))
	h := served(t, r)
	key := makeKey(t, h, fmt.Sprintf(`{"scopes":["admin"],"expires_at":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339)))
	_, err := r.Caller(t.Context(), key.Key)
	require.NoError(t, err)
	_, err = pool.Exec(`UPDATE signalstack.keys SET expires_at = now() - interval '1 second'`)
	require.NoError(t, err)
	makeKey(t, h, `{"scopes":["read"]}`) // a change, so that it is read again
	refused(t, r, key.Key)
}

// TestATokenOfALinkCannotBeChanged changes each character of one.
func TestATokenOfALinkCannotBeChanged(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	r := newRing(t, pool, adminKey, secretKey("s"))
	visit := link(t, served(t, r), `{"tenant":"acme","expires_in":"1m"}`)
	caller, err := r.Caller(t.Context(), visit.Token)
	require.NoError(t, err)
	require.Equal(t, keys.Caller{Tenant: "acme", Portal: keys.PortalRead}, caller)
	require.Equal(t, "/portal#"+visit.Token, visit.Path)
	for i := range visit.Token {
		other := "A"
		if visit.Token[i] == 'A' {
			other = "B"
		}
		refused(t, r, visit.Token[:i]+other+visit.Token[i+1:])
	}
	refused(t, r, visit.Token+"A")
	refused(t, r, visit.Token[:len(visit.Token)-1])
	refused(t, newRing(t, pool, adminKey, secretKey("o")), visit.Token)
	refused(t, newRing(t, pool, adminKey, ""), visit.Token)
	// A key that is listed behind a newer one is still good.
	_, err = newRing(t, pool, adminKey, secretKey("o")+","+secretKey("s")).Caller(t.Context(), visit.Token)
	require.NoError(t, err)
}

func TestTheAdminKeyNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	away, err := pg.Open("postgres://u@127.0.0.1:1/x?sslmode=disable", pg.Options{Role: "test"})
	require.NoError(t, err)
	defer func() { _ = away.Close() }()
	r := newRing(t, away, adminKey, "")
	caller, err := r.Caller(t.Context(), adminKey)
	require.NoError(t, err)
	require.True(t, caller.Has(keys.Work))
	refusedTexts(t, r, adminKey+"x", adminKey[1:], "", "ssk_short")
	_, err = r.Caller(t.Context(), "ssk_"+strings.Repeat("A", 43))
	require.Error(t, err)
	require.Equal(t, fault.Unavailable, fault.As(pg.Fault(err)).Kind, err)
}

func refusedTexts(t *testing.T, r *keys.Ring, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		_, err := r.Caller(t.Context(), token)
		require.Equal(t, fault.Unauthorized, fault.As(err).Kind, token)
	}
}

// TestInventedKeysDoNotFloodTheDatabase sends them from many at once.
func TestInventedKeysDoNotFloodTheDatabase(t *testing.T) {
	t.Parallel()
	r := newRing(t, pgtest.New(t), adminKey, "")
	start := time.Now()
	const callers, calls = 200, 10
	var calling sync.WaitGroup
	for c := range callers {
		calling.Go(func() {
			for i := range calls {
				_, err := r.Caller(t.Context(), fmt.Sprintf("ssk_%043d", c*calls+i))
				if fault.As(err) == nil || fault.As(err).Kind != fault.Unauthorized {
					t.Errorf("answered %v", err)
				}
			}
		})
	}
	calling.Wait()
	most := int64(time.Since(start)/(20*time.Millisecond)) + 2
	require.LessOrEqual(t, r.Looks(), most)
	require.Positive(t, r.Looks())
}

func TestTheUseOfAKeyIsNotedNowAndThen(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	pool := pgtest.Open(t, dsn)
	r := newRing(t, pool, adminKey, "")
	ctx, stop := context.WithCancel(t.Context())
	listening := pgtest.Open(t, dsn)
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx, listening) })
	defer running.Wait()
	defer stop()
	key := makeKey(t, served(t, r), `{"scopes":["read"]}`)
	used := func() (at *time.Time) {
		require.NoError(t, pool.Get(&at, `SELECT last_used_at FROM signalstack.keys WHERE id = $1`, key.ID))
		return at
	}
	require.Nil(t, used())
	_, err := r.Caller(t.Context(), key.Key)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return used() != nil }, 20*time.Second, 10*time.Millisecond)
	first := used()
	for range 1000 {
		_, err := r.Caller(t.Context(), key.Key)
		require.NoError(t, err)
	}
	require.Equal(t, first, used())
}

// BenchmarkCaller is what a request pays for its key.
func BenchmarkCaller(b *testing.B) {
	r := newRing(b, pgtest.New(b), adminKey, secretKey("s"))
	h := served(b, r)
	for name, token := range map[string]string{
		"admin key": adminKey, "key": makeKey(b, h, `{"scopes":["ingest"]}`).Key, "link": link(b, h, `{"tenant":"acme"}`).Token,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Caller(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
