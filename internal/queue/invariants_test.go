package queue_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
)

// invariants are what holds of the tables whenever nobody is at work, whatever
// happened before. Each statement gives what breaks its invariant, as text.
var invariants = []struct{ name, broken string }{
	{"a job is in one place, or it has ended", `
		SELECT format('%s is in %s and its newest attempt is %s', id, coalesce(places, 'no place'), coalesce(newest, 'not there'))
		FROM standing WHERE n > 1 OR n = 0 AND coalesce(newest, '') <> ALL (ARRAY['succeeded', 'failed', 'canceled'])`},
	{"only jobs have places", `
		SELECT format('%s is in %s', job_id, place) FROM places WHERE NOT EXISTS (SELECT FROM signalstack.jobs WHERE id = job_id)`},
	{"attempts are of jobs", `
		SELECT format('attempt of %s', job_id) FROM signalstack.attempts AS a WHERE NOT EXISTS (SELECT FROM signalstack.jobs WHERE id = a.job_id)`},
	{"attempts are counted from 1, without gaps, from each taking up on", `
		SELECT format('%s has attempt %s where %s is due', job_id, attempt, due) FROM made WHERE worker IS NOT NULL AND attempt <> due`},
	{"no job has more attempts than it may", `
		SELECT format('%s made attempt %s of %s', job_id, due, max_attempts)
		FROM made JOIN signalstack.jobs AS j ON j.id = job_id WHERE worker IS NOT NULL AND due > max_attempts`},
	{"a job that is canceled while it waits keeps the number of its attempts", `
		SELECT format('%s was canceled at attempt %s of %s', job_id, attempt, due) FROM made WHERE worker IS NULL AND attempt <> due`},
	{"an unfinished job knows how many attempts it has made", `
		SELECT format('%s says %s attempts and has %s', id, p.attempt, coalesce(m.counted, 0))
		FROM standing JOIN (
		    SELECT job_id, attempt FROM places WHERE place <> 'order'
		) AS p ON p.job_id = id
		LEFT JOIN LATERAL (SELECT counted FROM made WHERE made.job_id = id AND NOT past AND state = 'retrying' ORDER BY lease DESC LIMIT 1) AS m ON true
		WHERE p.attempt <> coalesce(m.counted, 0)`},
	{"leases grow with time", `
		SELECT format('lease %s of %s ended before the one before it', lease, job_id)
		FROM (SELECT *, lag(finished_at) OVER (PARTITION BY job_id ORDER BY lease) AS before FROM signalstack.attempts) AS a
		WHERE finished_at < before`},
	{"a lease is newer than those that ended", `
		SELECT format('%s in %s has lease %s after %s', p.job_id, p.place, p.lease, a.lease)
		FROM places AS p JOIN LATERAL (SELECT max(lease) AS lease FROM signalstack.attempts WHERE job_id = p.job_id) AS a ON true
		WHERE p.lease < a.lease OR p.place = 'running' AND p.lease = a.lease`},
	{"only running jobs are to be canceled", `
		SELECT format('%s', job_id) FROM signalstack.cancels AS c WHERE NOT EXISTS (SELECT FROM signalstack.running WHERE job_id = c.job_id)`},
	{"one job of each busy ordering key has its turn, and none of a key that is not, but for jobs that skip and failed", `
		SELECT format('%s jobs of key %s/%s have their turn, %s wait, busy: %s', coalesce(turns, 0), tenant, ordering_key, coalesce(waits, 0), of IS NOT NULL)
		FROM (
		    SELECT j.tenant, j.ordering_key, count(*) FILTER (WHERE place <> 'order') AS turns, count(*) FILTER (WHERE place = 'order') AS waits
		    FROM places JOIN signalstack.jobs AS j ON j.id = job_id WHERE j.ordering_key <> '' AND place <> 'blocked' AND NOT (j.skips AND attempt > 0) GROUP BY j.tenant, j.ordering_key
		) AS k
		FULL JOIN (SELECT tenant AS of, * FROM signalstack.ordering_keys) AS b USING (tenant, ordering_key)
		WHERE turns IS DISTINCT FROM 1 OR of IS NULL`},
	{"a job waits in the order of its own key", `
		SELECT format('%s of key %s/%s waits in that of %s/%s', job_id, j.tenant, j.ordering_key, o.tenant, o.ordering_key)
		FROM signalstack.ordered AS o JOIN signalstack.jobs AS j ON j.id = job_id
		WHERE (o.tenant, o.ordering_key) <> (j.tenant, j.ordering_key) OR j.ordering_key = ''`},
	{"who waits for others is blocked, and who is blocked waits for others that have not ended", `
		SELECT format('%s waits for %s: blocked %s, the other lives %s', coalesce(d.after_id, b.job_id), coalesce(d.before_id::text, 'nothing'), b.job_id IS NOT NULL, s.n > 0)
		FROM signalstack.dependencies AS d FULL JOIN signalstack.blocked AS b ON b.job_id = d.after_id LEFT JOIN standing AS s ON s.id = d.before_id
		WHERE NOT EXISTS (SELECT FROM signalstack.followed) AND (d.after_id IS NULL OR b.job_id IS NULL OR coalesce(s.n, 0) = 0)`},
	{"created less ended plus taken up again is what is unfinished", `
		SELECT format('counted %s, there %s', counted, there)
		FROM (SELECT coalesce(sum(CASE fact WHEN 'job' THEN -n WHEN 'job_created' THEN n WHEN 'job_reopened' THEN n END), 0) AS counted FROM facts) AS f,
		     (SELECT count(*) AS there FROM standing WHERE n > 0) AS s
		WHERE counted <> there`},
	{"every job was counted once", `
		SELECT format('tenant %s, queue %s: counted %s, there %s', tenant, queue, f.n, r.n)
		FROM (SELECT tenant, queue, sum(n) AS n FROM facts WHERE fact = 'job_created' GROUP BY tenant, queue) AS f
		FULL JOIN (SELECT tenant, queue, count(*) AS n FROM signalstack.jobs GROUP BY tenant, queue) AS r USING (tenant, queue)
		WHERE f.n IS DISTINCT FROM r.n`},
	{"every attempt of a worker was counted once", `
		SELECT format('%s %s: counted %s, there %s', tenant, outcome, f.n, r.n)
		FROM (SELECT tenant, outcome, sum(n) AS n FROM facts WHERE fact = 'attempt' GROUP BY tenant, outcome) AS f
		FULL JOIN (
		    SELECT j.tenant, a.outcome, count(*) AS n FROM signalstack.attempts AS a JOIN signalstack.jobs AS j ON j.id = a.job_id
		    WHERE a.worker IS NOT NULL GROUP BY j.tenant, a.outcome
		) AS r USING (tenant, outcome)
		WHERE f.n IS DISTINCT FROM r.n`},
	{"every end of a job was counted once", `
		SELECT format('%s %s: counted %s, there %s', tenant, outcome, f.n, r.n)
		FROM (SELECT tenant, outcome, sum(n) AS n FROM facts WHERE fact = 'job' GROUP BY tenant, outcome) AS f
		FULL JOIN (
		    SELECT j.tenant, a.state AS outcome, count(*) AS n FROM signalstack.attempts AS a JOIN signalstack.jobs AS j ON j.id = a.job_id
		    WHERE a.state <> 'retrying' GROUP BY j.tenant, a.state
		) AS r USING (tenant, outcome)
		WHERE f.n IS DISTINCT FROM r.n`},
}

// views are what the statements of the invariants read.
const views = `
WITH places AS (
    SELECT job_id, 'ready' AS place, attempt, lease FROM signalstack.ready
    UNION ALL SELECT job_id, 'scheduled', attempt, lease FROM signalstack.scheduled
    UNION ALL SELECT job_id, 'running', attempt - 1, lease FROM signalstack.running
    UNION ALL SELECT job_id, 'order', 0, lease FROM signalstack.ordered
    UNION ALL SELECT job_id, 'blocked', 0, 0 FROM signalstack.blocked
), standing AS (
    SELECT j.id, p.n, p.places, (SELECT state FROM signalstack.attempts AS a WHERE a.job_id = j.id ORDER BY lease DESC LIMIT 1) AS newest
    FROM signalstack.jobs AS j,
         LATERAL (SELECT count(*) AS n, string_agg(place, ' and ') AS places FROM places WHERE places.job_id = j.id) AS p
), numbered AS (
    SELECT *, count(*) FILTER (WHERE state <> 'retrying') OVER (PARTITION BY job_id ORDER BY lease ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS life,
           EXISTS (SELECT FROM signalstack.attempts AS l WHERE l.job_id = a.job_id AND l.lease > a.lease AND l.state <> 'retrying') AS past
    FROM signalstack.attempts AS a
), made AS ( -- one that was turned away has a number that the next has again
    SELECT *, counted + CASE WHEN worker IS NOT NULL AND outcome = 'throttled' THEN 1 ELSE 0 END AS due
    FROM (SELECT *, count(worker) FILTER (WHERE outcome <> 'throttled') OVER (PARTITION BY job_id, life ORDER BY lease) AS counted FROM numbered) AS n
), facts AS (
    SELECT fact, tenant, queue, outcome, n FROM signalstack.analytics_deltas
    UNION ALL SELECT fact, tenant, queue, outcome, n FROM signalstack.analytics_rollups WHERE grain = 1
)`

// brokenInvariants says what is wrong in a database where nobody is at work.
func brokenInvariants(ctx context.Context, db *pg.DB) ([]string, error) {
	var all []string
	for _, i := range invariants {
		var broken []string
		if err := db.SelectContext(ctx, &broken, views+i.broken+" LIMIT 10"); err != nil {
			return nil, fmt.Errorf("%s: %w", i.name, err)
		}
		for _, b := range broken {
			all = append(all, i.name+": "+b)
		}
	}
	return all, nil
}

// checkInvariants fails the test when anything is wrong in its database.
func checkInvariants(t testing.TB, db *pg.DB) {
	t.Helper()
	broken, err := brokenInvariants(t.Context(), db)
	require.NoError(t, err)
	require.Empty(t, broken)
}
