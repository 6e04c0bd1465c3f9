package idempotency_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

func key(tenant, scope, name string) idempotency.Key {
	return idempotency.Key{Tenant: tenant, Scope: scope, Key: name}
}

func reservation(k idempotency.Key, body string) idempotency.Reservation {
	return idempotency.Reservation{Key: k, Fingerprint: idempotency.Fingerprint([]byte(body)), Status: 201, Answer: []byte("answer to " + body)}
}

func reserve(t *testing.T, q pg.Querier, ttl time.Duration, all ...idempotency.Reservation) map[idempotency.Key]bool {
	t.Helper()
	got, err := idempotency.Reserve(t.Context(), q, all, ttl)
	require.NoError(t, err)
	return got
}

func TestKeyStandsForItsTenantAndScope(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	k := key("default", "events", "it's \\ \"k\" {1,2} é")
	require.True(t, reserve(t, db, time.Hour, reservation(k, "a"))[k])
	require.Empty(t, reserve(t, db, time.Hour, reservation(k, "b")))
	others := []idempotency.Key{key("acme", "events", k.Key), key("default", "jobs", k.Key), key("default", "events", k.Key+" ")}
	for _, other := range others {
		require.True(t, reserve(t, db, time.Hour, reservation(other, "a"))[other])
	}
	missing := key("default", "events", "missing")
	found, err := idempotency.Find(t.Context(), db, []idempotency.Reservation{reservation(k, "a"), reservation(missing, "a")})
	require.NoError(t, err)
	require.Len(t, found, 1)
	status, answer, err := found[k].Answer(idempotency.Fingerprint([]byte("a")))
	require.NoError(t, err)
	require.Equal(t, 201, status)
	require.Equal(t, "answer to a", string(answer))
	_, _, err = found[k].Answer(idempotency.Fingerprint([]byte("b")))
	require.ErrorIs(t, err, idempotency.ErrMismatch)
}

// TestReservationWaitsForTheTransactionThatHoldsTheKey has two transactions want
// one key: the second learns what the first came to.
func TestReservationWaitsForTheTransactionThatHoldsTheKey(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		db := pgtest.New(t)
		k := key("default", "events", "k")
		second := make(chan bool, 1)
		failure := errors.New("rolled back")
		err := pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
			reserve(t, tx, time.Hour, reservation(k, "a"))
			go func() {
				got, err := idempotency.Reserve(t.Context(), db, []idempotency.Reservation{reservation(k, "b")}, time.Hour)
				second <- err == nil && got[k]
			}()
			// The second one is seen waiting for the first.
			require.Eventually(t, func() bool {
				var waiting int
				err := db.GetContext(t.Context(), &waiting, `SELECT count(*) FROM pg_stat_activity
					WHERE datname = current_database() AND wait_event_type = 'Lock'`)
				return err == nil && waiting == 1
			}, 10*time.Second, 5*time.Millisecond)
			if !commits {
				return failure
			}
			return nil
		})
		if !commits {
			require.ErrorIs(t, err, failure)
		}
		require.Equal(t, !commits, <-second)
	}
}

// TestKeyInFlightIsToldAndNotWaitedFor holds a transaction that has claimed keys.
func TestKeyInFlightIsToldAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	claimed, shared := key("default", "events", "claimed"), key("default", "events", "shared")
	wanted := []idempotency.Reservation{reservation(claimed, "a"), reservation(shared, "a")}
	wanted[1].Waits = true
	err := pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		for range 2 { // a claim is not in its own way
			found, err := idempotency.Find(t.Context(), tx, wanted)
			require.NoError(t, err)
			require.Empty(t, found)
		}
		reserve(t, tx, time.Hour, wanted...)
		found, err := idempotency.Find(t.Context(), db, wanted)
		require.NoError(t, err)
		require.Len(t, found, 1)
		_, _, err = found[claimed].Answer(wanted[0].Fingerprint)
		require.ErrorIs(t, err, idempotency.ErrInFlight)
		return nil
	})
	require.NoError(t, err)
	found, err := idempotency.Find(t.Context(), db, wanted)
	require.NoError(t, err)
	require.Len(t, found, 2)
	_, answer, err := found[claimed].Answer(wanted[0].Fingerprint)
	require.NoError(t, err)
	require.Equal(t, "answer to a", string(answer))
}

func TestExpiredKeysAreFreeAndSwept(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	old, fresh := key("default", "events", "old"), key("default", "events", "fresh")
	reserve(t, db, -time.Second, reservation(old, "a"))
	reserve(t, db, time.Hour, reservation(fresh, "a"))
	found, err := idempotency.Find(t.Context(), db, []idempotency.Reservation{reservation(old, "a")})
	require.NoError(t, err)
	require.Empty(t, found)
	require.True(t, reserve(t, db, -time.Second, reservation(old, "b"))[old])
	require.NoError(t, idempotency.Sweep(t.Context(), db))
	var left []string
	require.NoError(t, db.SelectContext(t.Context(), &left, `SELECT key FROM signalstack.idempotency_keys`))
	require.Equal(t, []string{"fresh"}, left)
}

func TestKeysThatAreNone(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", strings.Repeat("x", 256), "a\x00", "a\r\nb", "a\x7f", "\xff"} {
		require.NotEmpty(t, idempotency.Check(bad), "%q", bad)
	}
	for _, good := range []string{"a", strings.Repeat("x", 255), "é ü", `"`} {
		require.Empty(t, idempotency.Check(good), "%q", good)
	}
}

func TestHeaderMayBeQuotedOrBare(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"abc": "abc", `"abc"`: "abc", ` "abc" `: "abc", `"a\"b\\c"`: `a"b\c`, `"`: `"`, `"abc`: `"abc`, "": "",
	} {
		require.Equal(t, want, idempotency.FromHeader(value), "%q", value)
	}
}
