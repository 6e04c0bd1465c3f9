package queue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/queue"
)

func TestExchangesGoBeforeTheirJobs(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	old, young := newPast(t, db, 20), newPast(t, db, 3)
	failed := old.ended(t, queue.Failed, old.jobs(t, 4500)...)
	recent := young.ended(t, queue.Failed, young.jobs(t, 2)...)
	// Attempts of today of a job of long ago, before and beyond the first stretch of keys.
	for _, statement := range []string{
		`UPDATE signalstack.attempts SET exchange = '{"url":"https://x"}', status = 503, error = 'down'`,
		fmt.Sprintf(`UPDATE signalstack.attempts SET finished_at = now() WHERE lease = 2 AND job_id IN ('%s', '%s')`, failed[0], failed[4000]),
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	r := retention(db)
	require.NoError(t, r.Pass(t.Context()))
	require.Equal(t, 9004, count(t, db, "attempts WHERE exchange IS NOT NULL"), "no period of their own")

	r.Exchanges = 7 * aDay
	require.NoError(t, r.Pass(t.Context()))
	require.Equal(t, 9004, count(t, db, "attempts WHERE status = 503 AND error = 'down'"))
	require.Equal(t, 2+2*len(recent), count(t, db, "attempts WHERE exchange IS NOT NULL"))
	require.Equal(t, 2, count(t, db, fmt.Sprintf("attempts WHERE exchange IS NOT NULL AND lease = 2 AND job_id IN ('%s', '%s')", failed[0], failed[4000])))

	// A partition that was looked through is left alone for a day; another process looks.
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.attempts SET exchange = '{}', finished_at = now() - interval '8 days'`)
	require.NoError(t, err)
	require.NoError(t, r.Pass(t.Context()))
	require.Equal(t, 9004, count(t, db, "attempts WHERE exchange IS NOT NULL"))
	again := retention(db)
	again.Exchanges = time.Hour
	require.NoError(t, again.Pass(t.Context()))
	require.Zero(t, count(t, db, "attempts WHERE exchange IS NOT NULL"))
}
