package jobs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// A claim of many followers of many jobs cannot fill the memory.
func TestResultsOfWhatWasWaitedForAreBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	const n = 20
	first := make([]queue.NewJob, n)
	ids := make([]string, n)
	for i := range first {
		first[i] = queue.NewJob{ID: uuid.Must(uuid.NewV7()), Tenant: "t", Kind: "test", Queue: "default", Priority: 2, MaxAttempts: 1, Timeout: time.Minute}
		ids[i] = first[i].ID.String()
	}
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, first) }))
	claimed, err := queue.NewClaimer(db, "default", uuid.New(), time.Minute, 0).Claim(t.Context(), n)
	require.NoError(t, err)
	result := []byte(`"` + strings.Repeat("x", jobs.MaxResult-2) + `"`)
	ends := make([]queue.Settlement, n)
	for i, c := range claimed {
		ends[i] = queue.Settlement{JobID: c.ID, Lease: c.Lease, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded, Result: result}
	}
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		_, err := queue.Settle(t.Context(), tx, ends)
		return err
	}))
	after := "{" + strings.Join(append(ids, uuid.NewString()), ",") + "}"
	followers := make([]queue.Claimed, 20)
	for i := range followers {
		followers[i] = queue.Claimed{ID: uuid.Must(uuid.NewV7()), AfterJobs: &after}
	}
	followers[0].AfterJobs = nil
	found, err := jobs.BeforeOf(t.Context(), db, followers)
	require.NoError(t, err)
	require.Len(t, found, 19, "the first waited for none")
	const fit = 16 // of 64 KiB in 1 MiB, and as many lists of 1 MiB in all
	for at, f := range followers[1:] {
		require.Len(t, found[f.ID], n, "one is not kept any more")
		for i, b := range found[f.ID] {
			require.Equal(t, ids[i], b.ID.String())
			// Beyond the bound of all of them a list has none; the lists before it took more than they show.
			if at*n+i < 16*16 {
				require.Equal(t, i < fit, b.Result != nil, "%d of %d", i, at)
			}
		}
	}
	require.Nil(t, found[followers[19].ID][0].Result)
}
