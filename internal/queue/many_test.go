package queue_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

func idsOf(jobs ...queue.NewJob) []uuid.UUID {
	ids := make([]uuid.UUID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	return ids
}

func retryMany(t *testing.T, db *pg.DB, how queue.Reopening, ids ...uuid.UUID) (retried int, why map[uuid.UUID]string) {
	t.Helper()
	why = map[uuid.UUID]string{}
	require.NoError(t, pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error {
		n, passed, err := queue.RetryMany(t.Context(), tx, ids, how)
		retried = n
		for _, p := range passed {
			why[p.ID] = p.Why
		}
		return err
	}))
	return retried, why
}

func cancelMany(t *testing.T, db *pg.DB, ids ...uuid.UUID) (canceled, asked int) {
	t.Helper()
	require.NoError(t, pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) (err error) {
		canceled, asked, err = queue.CancelMany(t.Context(), tx, ids)
		return err
	}))
	return canceled, asked
}

func TestManyEndedJobsAreTakenUpAgain(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	failed, succeeded, first, second := newJob(), newJob(), newJob(keyed("k")), newJob(keyed("k"))
	waiting, erased, gone, unmade := newJob(), newJob(), newJob(), newJob(func(j *queue.NewJob) { j.Unmade = "no such field" })
	for _, j := range []*queue.NewJob{&erased, &gone} {
		j.EventID = uuid.NullUUID{UUID: uuid.Must(uuid.NewV7()), Valid: true}
	}
	enqueue(t, db, failed, succeeded, first, second, erased, gone, unmade)
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at, erased_at)
		VALUES ($1, 'default', 'a', '', '', '', now(), now(), now())`, erased.EventID)
	require.NoError(t, err)
	c := claimer(db)
	for done := 0; done < 6; {
		for _, j := range claim(t, c, 10) {
			state := queue.Failed
			if j.ID == succeeded.ID {
				state = queue.Succeeded
			}
			end(t, db, j, state)
			done++
		}
	}
	enqueue(t, db, waiting)
	all := idsOf(failed, succeeded, first, second, waiting, erased, gone, unmade)

	n, why := retryMany(t, db, queue.Reopening{EndedBy: time.Now().Add(-time.Hour)}, all...)
	require.Zero(t, n)
	require.Contains(t, why[failed.ID], "meanwhile", "it ended later than that")

	n, why = retryMany(t, db, queue.Reopening{Priority: 4}, append(all, uuid.Must(uuid.NewV7()))...)
	require.Equal(t, 4, n)
	require.Len(t, why, 4)
	require.Contains(t, why[waiting.ID], "goes on by itself")
	require.Contains(t, why[erased.ID], "erased")
	require.Contains(t, why[gone.ID], "not kept any more")
	require.Contains(t, why[unmade.ID], "could not be made")
	require.Equal(t, 4, count(t, db, "ready"), "one of the key, and the job that waited")
	require.Equal(t, 1, count(t, db, "ordered"))
	require.Equal(t, 3, count(t, db, "ready WHERE priority = 4 AND attempt = 0 AND lease = 1"))
	require.Equal(t, 4, count(t, db, "analytics_deltas AS d, generate_series(1, d.n) WHERE fact = 'job_reopened'"))

	n, why = retryMany(t, db, queue.Reopening{}, all...)
	require.Zero(t, n, "they are on their way")
	require.Contains(t, why[second.ID], "goes on by itself")

	var order []uuid.UUID
	for len(order) < 5 {
		for _, j := range claim(t, c, 10) {
			require.Equal(t, 1, j.Attempt)
			order = append(order, j.ID)
			end(t, db, j, queue.Succeeded)
		}
	}
	require.Equal(t, waiting.ID, order[0], "what is live goes first")
	require.ElementsMatch(t, idsOf(failed, succeeded, first, second), order[1:])
	require.Equal(t, second.ID, order[4], "after the one before it of its key")
}

func TestManyJobsAreCanceled(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	running, head, behind, last := newJob(), newJob(keyed("k")), newJob(keyed("k")), newJob(keyed("k"))
	enqueue(t, db, running)
	held := claim(t, claimer(db), 1)[0]
	ready, scheduled, ended := newJob(), newJob(func(j *queue.NewJob) { j.Delay = time.Hour }), newJob()
	enqueue(t, db, ready, scheduled, ended, head, behind, last)
	_, err := queue.Cancel(t.Context(), db, ended.ID)
	require.NoError(t, err)

	canceled, asked := cancelMany(t, db, idsOf(running, ready, scheduled, ended, head, behind)...)
	require.Equal(t, []int{4, 1}, []int{canceled, asked})
	require.Equal(t, 5, count(t, db, "attempts WHERE state = 'canceled' AND worker IS NULL"))
	require.Equal(t, 5, count(t, db, "analytics_deltas AS d, generate_series(1, d.n) WHERE fact = 'job' AND outcome = 'canceled'"))
	require.Equal(t, 1, count(t, db, "cancels"))
	got := claim(t, claimer(db), 10)
	require.Len(t, got, 1)
	require.Equal(t, last.ID, got[0].ID, "the key goes on behind those that were canceled")
	require.Equal(t, queue.Canceled, end(t, db, held, queue.Retrying)[queue.Held{JobID: held.ID, Lease: held.Lease}])

	canceled, asked = cancelMany(t, db, idsOf(running, ready, scheduled, ended, head, behind)...)
	require.Zero(t, canceled+asked, "all have ended")
}

// TestManyCanceledJobsThatSkippedMoveNobody cancels a job that has lost its turn beside
// the one that has it, and then that one.
func TestManyCanceledJobsThatSkippedMoveNobody(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	jobs := []queue.NewJob{newJob(skipping("k")), newJob(skipping("k")), newJob(skipping("k"))}
	enqueue(t, db, jobs...)
	end(t, db, claim(t, claimer(db), 10)[0], queue.Retrying)
	require.Equal(t, []int{2, 1}, []int{count(t, db, "ready"), count(t, db, "ordered")})
	canceled, _ := cancelMany(t, db, jobs[0].ID)
	require.Equal(t, 1, canceled)
	require.Equal(t, []int{1, 1}, []int{count(t, db, "ready"), count(t, db, "ordered")})
	canceled, _ = cancelMany(t, db, jobs[1].ID)
	require.Equal(t, 1, canceled)
	require.Equal(t, []int{1, 0}, []int{count(t, db, "ready"), count(t, db, "ordered")})
	end(t, db, claim(t, claimer(db), 10)[0], queue.Succeeded)
	require.Zero(t, count(t, db, "ordering_keys"))
}

// TestManyActsAgreeWithWorkers cancels and takes up jobs in batches while workers claim
// and end them: each job ends, and what was counted is what is there.
func TestManyActsAgreeWithWorkers(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const jobs, batch = 600, 50
	all := make([]queue.NewJob, jobs)
	for i := range all {
		all[i] = newJob()
		if i%3 == 0 {
			all[i] = newJob(keyed(string(rune('a'+i%5))), func(j *queue.NewJob) { j.Skips = i%2 == 0 })
		}
	}
	enqueue(t, db, all...)
	var workers, operators sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 2 {
		workers.Go(func() {
			c := claimer(db)
			for ctx.Err() == nil {
				got, err := c.Claim(context.Background(), 20)
				if err != nil {
					t.Error(err)
					return
				}
				for i, j := range got {
					end(t, db, j, []queue.State{queue.Succeeded, queue.Failed, queue.Retrying}[i%3])
				}
			}
		})
	}
	for at := 0; at < jobs; at += batch {
		ids := idsOf(all[at : at+batch]...)
		operators.Go(func() { cancelMany(t, db, ids...) })
		operators.Go(func() { retryMany(t, db, queue.Reopening{}, ids...) })
	}
	operators.Wait()
	// All that waits is canceled in the end, whatever the workers are at.
	require.Eventually(t, func() bool {
		n, asked := cancelMany(t, db, idsOf(all...)...)
		return n+asked == 0 && count(t, db, "running")+count(t, db, "ready")+count(t, db, "scheduled")+count(t, db, "ordered") == 0
	}, 30*time.Second, 20*time.Millisecond)
	stop()
	workers.Wait()
	require.Zero(t, count(t, db, "ordering_keys"))
	require.Zero(t, count(t, db, "cancels AS c WHERE NOT EXISTS (SELECT FROM signalstack.attempts AS a WHERE a.job_id = c.job_id)"))
	require.Equal(t, jobs, count(t, db, `jobs AS j WHERE (SELECT a.state FROM signalstack.attempts AS a WHERE a.job_id = j.id ORDER BY lease DESC LIMIT 1) <> 'retrying'`))
	facts := func(where string) int {
		return count(t, db, "analytics_deltas AS d, generate_series(1, d.n) WHERE "+where)
	}
	require.Equal(t, count(t, db, "attempts WHERE state = 'canceled' AND worker IS NULL"), facts("fact = 'job' AND outcome = 'canceled'"))
	require.Equal(t, facts("fact = 'job_reopened'"), count(t, db, `attempts AS a WHERE state <> 'retrying'
		AND EXISTS (SELECT FROM signalstack.attempts AS b WHERE b.job_id = a.job_id AND b.lease > a.lease)`))
}
