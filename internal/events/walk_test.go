package events_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// spread stores n events over three days; one in ten has the type rare, one in a
// hundred the subject rare.
func spread(t *testing.T, db *pg.DB, n int) {
	t.Helper()
	now := time.Now()
	require.NoError(t, queue.EnsurePartitions(t.Context(), db, now, now.AddDate(0, 0, -1), now.AddDate(0, 0, -2)))
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at, data)
		SELECT signalstack.uuid7(now() - (n * 2 * 86400.0 / $1) * interval '1 second'), CASE WHEN n % 2 = 0 THEN 'default' ELSE 'acme' END,
		       CASE WHEN n % 10 = 0 THEN 'rare' ELSE 'common' END, 's', CASE WHEN n % 100 = 0 THEN 'rare' ELSE '' END, '', now(), now(), convert_to(n::text, 'UTF8')
		FROM generate_series(1, $1::int) AS n`, n)
	require.NoError(t, err)
}

// TestWalksGoAlongIndexes holds the statements to their indexes, in whose order they
// find the rows: a sort would read all of them first.
func TestWalksGoAlongIndexes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	spread(t, db, 3000)
	_, err := db.ExecContext(t.Context(), `ANALYZE`)
	require.NoError(t, err)
	scan := regexp.MustCompile(`Index Scan using (\w+) on`)
	for statement, index := range events.WalkStatements() {
		arguments := `100, '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
			'acme', 'rare', '', '', 'infinity'`
		if strings.Contains(statement, "$11") {
			arguments += ", 10, 1000"
		}
		var plan []string
		require.NoError(t, pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(t.Context(), `PREPARE p AS `+statement); err != nil {
				return err
			}
			if err := tx.SelectContext(t.Context(), &plan, `EXPLAIN EXECUTE p (`+arguments+`)`); err != nil {
				return err
			}
			_, err := tx.ExecContext(t.Context(), `DEALLOCATE p`)
			return err
		}), statement)
		text := strings.Join(plan, "\n")
		used := scan.FindAllStringSubmatch(text, -1)
		require.NotEmpty(t, used, text)
		for _, u := range used {
			require.True(t, strings.HasSuffix(u[1], index), "%s, not %s:\n%s", u[1], index, text)
		}
		require.NotContains(t, text, "Seq Scan on events", text)
		require.NotContains(t, text, "Merge Append", text)
		at := strings.Index(text, "Limit")
		require.Contains(t, text[at:at+strings.Index(text[at:], "Index Scan")], "Append", text)
	}
}

func TestWalkIsBoundedByWhatItLooksAt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	spread(t, db, 3000)
	for name, c := range map[string]struct {
		walk events.Walk
		fit  int
	}{
		"primary key": {events.Walk{Tenant: "default", Subject: "rare"}, 30},
		"type":        {events.Walk{Tenant: "default", Type: "rare", Source: "s"}, 300},
		"tenant":      {events.Walk{Tenant: "acme"}, 1500},
		"none":        {events.Walk{Tenant: "acme", Type: "rare"}, 0},
		"a day":       {events.Walk{Tenant: "acme", From: queue.FirstID(time.Now().AddDate(0, 0, -1))}, 750},
		"of before":   {events.Walk{Tenant: "acme", AcceptedBy: time.Now().Add(-time.Hour)}, 0},
	} {
		c.walk.Before = uuid.Max
		var ids []string
		var counted, steps int
		for after, end := "", false; !end; steps++ {
			require.NoError(t, pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error {
				found, s, err := c.walk.Next(t.Context(), tx, after, 250, 20)
				if err != nil {
					return err
				}
				require.LessOrEqual(t, len(found), 20)
				require.Len(t, found, s.Found)
				for _, e := range found {
					ids = append(ids, e.ID.String())
					require.NotEmpty(t, e.Data)
				}
				after, end = s.Last, s.End
				return nil
			}), name)
		}
		for after, end := "", false; !end; {
			require.NoError(t, pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error {
				s, err := c.walk.Count(t.Context(), tx, after, 250)
				counted += s.Found
				after, end = s.Last, s.End
				return err
			}), name)
		}
		require.InDelta(t, c.fit, counted, 2, name)
		require.Len(t, ids, counted, name)
		require.IsIncreasing(t, append([]string{fmt.Sprint(0)}, ids...), name)
	}
}
