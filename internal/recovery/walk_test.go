package recovery_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/recovery"
)

// TestWalksGoDownTheirIndexes: with a filter that takes few of many rows, any other way
// would read the table.
func TestWalksGoDownTheirIndexes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.wanted()
	h.ended(3000, "succeeded", `{}`)
	h.ended(50, "failed", `{}`)
	_, err := h.db.ExecContext(t.Context(), `VACUUM ANALYZE`)
	require.NoError(t, err)
	scan := regexp.MustCompile(`Index (Only )?Scan using (\w+)`)
	for name, s := range recovery.Statements() {
		arguments := 16
		if strings.Contains(s.SQL, "$17") {
			arguments = 17
		}
		var plan []string
		require.NoError(t, pg.InSteadyTx(t.Context(), h.db, func(tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(t.Context(), `PREPARE p AS `+s.SQL); err != nil {
				return err
			}
			if err := tx.SelectContext(t.Context(), &plan, `EXPLAIN EXECUTE p (`+strings.Repeat("NULL, ", arguments-1)+`NULL)`); err != nil {
				return err
			}
			_, err := tx.ExecContext(t.Context(), `DEALLOCATE p`)
			return err
		}), name)
		text := strings.Join(plan, "\n")
		found := false
		for i, line := range plan {
			require.NotContains(t, line, "Seq Scan on", "%s: %s", name, text)
			if scan.MatchString(line) {
				require.Contains(t, plan[i+1], "Index Cond: ", "%s: %s", name, text)
				found = found || regexp.MustCompile(`Index Cond: \(+(ROW\()?`+s.Index+`[ ,]`).MatchString(plan[i+1]) && strings.Contains(plan[i+1], "$2")
			}
		}
		require.True(t, found, "%s does not begin after $2 in an index of %s: %s", name, s.Index, text)
		if strings.HasSuffix(name, "find") && !strings.HasPrefix(name, "cancel, ") {
			require.NotContains(t, text, "Sort", "%s reads more than it gives: %s", name, text)
		}
	}
}
