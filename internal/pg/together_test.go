package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
)

// Arrays arrive as what they were, also the empty ones and what is special in text.
func TestArrays(t *testing.T) {
	t.Parallel()
	db := single(t)
	ids := []uuid.UUID{uuid.New(), {}}
	texts := []string{"", `a"b\,{}NULL é`}
	blobs := [][]byte{{0, 255, '\\'}, nil}
	times := []time.Time{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 2, 3, 4, 5, 6, 789_000, time.UTC)}
	for n := range 3 {
		var row struct {
			IDs, Texts, Blobs, Numbers, Times, NullIDs, NullTimes string
		}
		err := db.GetContext(t.Context(), &row, `
			SELECT $1::uuid[]::text AS ids, $2::text[]::text AS texts, $3::bytea[]::text AS blobs, $4::bigint[]::text AS numbers,
			       $5::timestamptz[]::text AS times, $6::uuid[]::text AS nullids, $7::timestamptz[]::text AS nulltimes`,
			pg.UUIDs(n, func(i int) uuid.UUID { return ids[i] }), pg.Texts(n, func(i int) string { return texts[i] }),
			pg.Blobs(n, func(i int) []byte { return blobs[i] }), pg.Int8s(n, func(i int) int64 { return int64(-i) }),
			pg.Times(n, func(i int) time.Time { return times[i] }),
			pg.NullUUIDs(n, func(i int) uuid.NullUUID { return uuid.NullUUID{UUID: ids[i], Valid: i == 1} }),
			pg.NullTimes(n, func(i int) time.Time { return times[i] }))
		require.NoError(t, err)
		zero := uuid.UUID{}.String()
		require.Equal(t, []string{"{}", "{" + ids[0].String() + "}", "{" + ids[0].String() + "," + zero + "}"}[n], row.IDs)
		require.Equal(t, []string{"{}", `{""}`, `{"","a\"b\\,{}NULL é"}`}[n], row.Texts)
		require.Equal(t, []string{"{}", `{"\\x00ff5c"}`, `{"\\x00ff5c",NULL}`}[n], row.Blobs)
		require.Equal(t, []string{"{}", "{0}", "{0,-1}"}[n], row.Numbers)
		require.Equal(t, []string{"{}", `{"0001-01-01 00:00:00+00"}`, `{"0001-01-01 00:00:00+00","2026-02-03 04:05:06.000789+00"}`}[n], row.Times)
		require.Equal(t, []string{"{}", "{NULL}", "{NULL," + zero + "}"}[n], row.NullIDs)
		require.Equal(t, []string{"{}", "{NULL}", `{NULL,"2026-02-03 04:05:06.000789+00"}`}[n], row.NullTimes)
	}
}

func TestTogether(t *testing.T) {
	t.Parallel()
	db := single(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE noted (place text, n bigint)`)
	require.NoError(t, err)
	note := func(sql string, args ...any) pg.Write { return pg.Write{SQL: sql, Args: args} }
	w := pg.Together(
		note(`WITH g AS (SELECT $1::bigint AS n) INSERT INTO noted SELECT 'main', n FROM g`, 1),
		note(`INSERT INTO noted VALUES ('one', $1), ($2, $1)`, 2, "again"),
		note(`INSERT INTO noted VALUES ('two', $1)`, 3))
	require.NoError(t, w.Run(t.Context(), db))
	require.NoError(t, pg.Together(note(`INSERT INTO noted VALUES ('alone', $1)`, 4)).Run(t.Context(), db))
	require.NoError(t, pg.Together(note(`INSERT INTO noted VALUES ('plain', $1)`, 5), note(`INSERT INTO noted VALUES ('beside', $1)`, 6)).Run(t.Context(), db))
	var found []string
	require.NoError(t, db.SelectContext(t.Context(), &found, `SELECT place || n FROM noted ORDER BY n, place`))
	require.Equal(t, []string{"main1", "again2", "one2", "two3", "alone4", "plain5", "beside6"}, found)
}

// A query that is sent ahead gives what it would give, once, in each transaction anew.
func TestAhead(t *testing.T) {
	t.Parallel()
	db := single(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE seen (n bigint, word text)`)
	require.NoError(t, err)
	const query = `SELECT n, word FROM seen ORDER BY n`
	read := func(ctx context.Context, more bool) (first, second []string) {
		err := pg.InSteadyTx(pg.Ahead(ctx, query), db, func(tx *sqlx.Tx) error {
			for _, to := range []*[]string{&first, &second} {
				var rows []struct {
					N    int64
					Word *string
				}
				if err := tx.SelectContext(ctx, &rows, query); err != nil {
					return err
				}
				for _, r := range rows {
					require.NotNil(t, r.Word)
					*to = append(*to, *r.Word)
				}
				if more {
					if _, err := tx.ExecContext(ctx, `INSERT INTO seen VALUES (2, 'b')`); err != nil {
						return err
					}
				}
			}
			return nil
		})
		require.NoError(t, err)
		return first, second
	}
	first, second := read(t.Context(), false)
	require.Empty(t, first)
	require.Empty(t, second)
	_, err = db.ExecContext(t.Context(), `INSERT INTO seen VALUES (1, 'a')`)
	require.NoError(t, err)
	first, second = read(t.Context(), true)
	require.Equal(t, []string{"a"}, first)
	require.Equal(t, []string{"a", "b"}, second)

	err = pg.InSteadyTx(pg.Ahead(t.Context(), `SELECT 1/0`), db, func(*sqlx.Tx) error { return nil })
	require.ErrorContains(t, err, "division by zero")
	first, _ = read(t.Context(), false) // the connection is as good as before
	require.Equal(t, []string{"a", "b", "b"}, first)
}
