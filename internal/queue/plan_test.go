package queue_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// A table that is vacuumed while it is empty has no rows and one page, as the planner
// sees it, however many dead ones an old snapshot keeps: a plan made then must still go
// down each index by its first columns.
func TestPlansOfEmptyTablesReadNoWholeIndex(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for _, statement := range []string{
		`INSERT INTO signalstack.ready SELECT signalstack.uuid7(), 'default', 'default', 2, now(), 0, 0 FROM generate_series(1, 2000)`,
		`INSERT INTO signalstack.running SELECT job_id, queue, lane, priority, ready_at, 1, 1, job_id, false, now(), now() FROM signalstack.ready`,
		`DELETE FROM signalstack.ready`, `DELETE FROM signalstack.running`, `VACUUM ANALYZE`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	scan := regexp.MustCompile(`Index (Only )?Scan using (\w+)`)
	for name, statement := range queue.Statements() {
		arguments := 0
		for strings.Contains(statement, fmt.Sprintf("$%d", arguments+1)) {
			arguments++
		}
		var plan []string
		require.NoError(t, pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(t.Context(), `PREPARE p AS `+statement); err != nil {
				return err
			}
			if err := tx.SelectContext(t.Context(), &plan, `EXPLAIN EXECUTE p (`+strings.Repeat("NULL, ", arguments-1)+`NULL)`); err != nil {
				return err
			}
			_, err := tx.ExecContext(t.Context(), `DEALLOCATE p`)
			return err
		}), name)
		for i, line := range plan {
			index := scan.FindStringSubmatch(line)
			if index == nil {
				require.NotContains(t, line, "Seq Scan on signalstack", name)
				continue
			}
			require.Contains(t, plan[i+1], "Index Cond: ", "%s: %s", name, strings.Join(plan, "\n"))
			if index[2] == "ready_claim" {
				require.Contains(t, plan[i+1], "queue = ", "%s: %s", name, strings.Join(plan, "\n"))
			}
		}
	}
}

// An extension of a lease moves its row; a settle that comes meanwhile waits for it
// and ends the job all the same.
func TestASettleFindsTheRowThatAnExtensionMoves(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob())
	job := claim(t, claimer(db), 1)[0]
	held := queue.Held{JobID: job.ID, Lease: job.Lease}
	extended, settled := make(chan struct{}), make(chan error, 1)
	go func() {
		<-extended
		settled <- pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error {
			states, err := queue.Settle(t.Context(), tx, []queue.Settlement{{
				JobID: job.ID, Lease: job.Lease, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded,
			}})
			if err == nil && states[held] != queue.Succeeded {
				return fmt.Errorf("settled as %q", states[held])
			}
			return err
		})
	}()
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		kept, err := queue.Extend(t.Context(), tx, []queue.Held{held}, time.Minute)
		require.True(t, kept[held])
		close(extended)
		require.Eventually(t, func() bool {
			var waits bool
			return db.GetContext(t.Context(), &waits, `
				SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'
				               AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))`) == nil && waits
		}, 5*time.Second, 5*time.Millisecond)
		return err
	}))
	require.NoError(t, <-settled)
	require.Zero(t, count(t, db, "running"))
}

// Where one lane has nearly all rows, the planner expects to find any lane's at once
// wherever it looks. The search for the lanes that have none must not read them all.
func TestSearchForLanesBesideALargeOneReadsNoTable(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for _, statement := range []string{
		`INSERT INTO signalstack.ready SELECT signalstack.uuid7(), 'default', 'large', 2, now(), 0, 0 FROM generate_series(1, 20000)`,
		`VACUUM ANALYZE signalstack.ready`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	at := `ARRAY[now(), now()]`
	search := strings.NewReplacer("$1", "'default'", "$2::text[]", "ARRAY['quiet', 'shy']", "$3::timestamptz[]", at, "$4::timestamptz[]", at,
		"$5::timestamptz[]", at, "$6::timestamptz[]", at, "$7::text[]", "ARRAY['', 'large']", "$8::text[]", "ARRAY['large', '~']", "$9", "1000").Replace(queue.FindLanesSQL)
	var plan []string
	require.NoError(t, db.SelectContext(t.Context(), &plan, `EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off) `+search))
	text := strings.Join(plan, "\n")
	require.NotContains(t, text, "Seq Scan on ready", text)
}
