package rules_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/rules"
)

// insertRules writes n rules that all want events of type r0, r1 ... by their number.
func insertRules(tb testing.TB, db *pg.DB, tenant string, n int) {
	tb.Helper()
	_, err := db.ExecContext(context.Background(), `
		INSERT INTO signalstack.rules (id, tenant, name, pattern, actions, enabled, created_at, updated_at)
		SELECT signalstack.uuid7(now() + n * interval '1 millisecond'), $1, 'r' || n,
		       format('{"type":["r%s"],"data":{"amount":[{"numeric":[">",%s]}],"tier":["gold","silver"]}}', n, n),
		       '[{"kind":"log","payload":{"message":"m"}}]', true, now(), now()
		FROM generate_series(0, $2::int - 1) AS n`, tenant, n)
	require.NoError(tb, err)
}

// made names the rules that make a job of an event, by the last part of their ids.
func made(set *rules.Set, tenant, eventType string) (ids []uuid.UUID) {
	e := pattern.NewEvent(pattern.Envelope{Type: eventType, Tenant: tenant}, []byte(`{"amount":100000,"tier":"gold"}`))
	for _, j := range jobsOf(set, jobs.NewRegistry(), tenant, e) {
		ids = append(ids, j.RuleID.UUID)
	}
	return ids
}

// A set that is reloaded is the one that would be loaded, whatever changed.
func TestReloadGivesWhatLoadGives(t *testing.T) {
	t.Parallel()
	db, log := pgtest.New(t), slog.New(slog.DiscardHandler)
	insertRules(t, db, "a", 3)
	insertRules(t, db, "b", 3)
	set, err := rules.Load(t.Context(), db, log)
	require.NoError(t, err)
	types := []string{"r0", "r1", "r2", "new"}
	for _, change := range []string{
		`UPDATE signalstack.rules SET pattern = '{"type":["new"]}' WHERE name = 'r1'`, // by hand: updated_at stays
		`UPDATE signalstack.rules SET pattern = 'no pattern' WHERE name = 'r0' AND tenant = 'a'`,
		`UPDATE signalstack.rules SET enabled = false WHERE name = 'r1' AND tenant = 'b'`,
		`UPDATE signalstack.rules SET tenant = 'b' WHERE name = 'r2'`,
		`UPDATE signalstack.rules SET enabled = true, pattern = '{"type":["new"]}'`,
		`DELETE FROM signalstack.rules WHERE name = 'r1'`,
		`DELETE FROM signalstack.rules`,
		`SELECT 1`,
	} {
		_, err := db.ExecContext(t.Context(), change)
		require.NoError(t, err)
		set, err = set.Reload(t.Context(), db, log)
		require.NoError(t, err)
		loaded, err := rules.Load(t.Context(), db, log)
		require.NoError(t, err)
		for _, tenant := range []string{"a", "b"} {
			for _, eventType := range types {
				require.Equal(t, made(loaded, tenant, eventType), made(set, tenant, eventType), "%s: %s %s", change, tenant, eventType)
				require.True(t, slices.IsSortedFunc(made(set, tenant, eventType), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }))
			}
		}
	}
}

// BenchmarkReload is how long events wait for a change of one rule among 10,000 of one
// tenant, and of ten; and what loading all of them took.
func BenchmarkReload(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	for _, tenants := range []int{1, 10} {
		db := pgtest.New(b)
		for i := range tenants {
			insertRules(b, db, fmt.Sprint("t", i), 10_000/tenants)
		}
		_, err := db.ExecContext(b.Context(), `ANALYZE signalstack.rules`)
		require.NoError(b, err)
		steady := func(f func(*sqlx.Tx) error) { require.NoError(b, pg.InSteadyTx(b.Context(), db, f)) }
		var set *rules.Set
		b.Run(fmt.Sprintf("load/tenants=%d", tenants), func(b *testing.B) {
			for b.Loop() {
				steady(func(tx *sqlx.Tx) (err error) {
					set, err = rules.Load(b.Context(), tx, log)
					return err
				})
			}
		})
		b.Run(fmt.Sprintf("change/tenants=%d", tenants), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				_, err := db.ExecContext(b.Context(), `UPDATE signalstack.rules SET updated_at = now() WHERE id = (SELECT id FROM signalstack.rules ORDER BY random() LIMIT 1)`)
				require.NoError(b, err)
				b.StartTimer()
				steady(func(tx *sqlx.Tx) (err error) {
					set, err = set.Reload(b.Context(), tx, log)
					return err
				})
			}
		})
	}
}
