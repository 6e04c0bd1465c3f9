package webhooks_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// late is by how much an attempt may be later than its schedule says, on a machine that
// others use: the steps of these tests lie further apart, so that a wrong one shows.
const late = 3 * time.Second

// gaps gives the times from the end of each attempt to the start of the next, as they are
// on record.
func gaps(job jobs.Detailed) []time.Duration {
	var all []time.Duration
	for i, a := range job.Attempts[1:] {
		all = append(all, a.StartedAt.Sub(*job.Attempts[i].FinishedAt))
	}
	return all
}

// TestAttemptsComeWhenThePolicySays reads the times of attempts that fail in every way
// against the ladder, or the growing waits, that their endpoint asked for.
func TestAttemptsComeWhenThePolicySays(t *testing.T) {
	t.Parallel()
	b, s := start(t), openStage(t)
	b.work(t)
	for name, c := range map[string]struct {
		policy string
		script []act
		least  []time.Duration
		most   []time.Duration
	}{
		"ladder": {
			`{"strategy":"ladder","ladder":["100ms","6s","1s"],"jitter":"none"}`,
			[]act{answers(500), answers(404), answers(302, "Location: /elsewhere"), answers(500)},
			[]time.Duration{100 * time.Millisecond, 6 * time.Second, time.Second},
			nil,
		},
		"last rung again": {
			`{"strategy":"ladder","ladder":["5s","200ms"],"jitter":"none"}`,
			[]act{answers(500), answers(400), answers(401), answers(402)},
			[]time.Duration{5 * time.Second, 200 * time.Millisecond, 200 * time.Millisecond},
			nil,
		},
		"without an answer": {
			`{"strategy":"ladder","ladder":["300ms","5s","1s"],"jitter":"none"}`,
			[]act{hangs, resets(""), closes, says("no HTTP\r\n\r\n")},
			[]time.Duration{300 * time.Millisecond, 5 * time.Second, time.Second},
			nil,
		},
		"ladder with its jitter": {
			`{"strategy":"ladder","ladder":["200ms","5s"]}`,
			[]act{answers(500), answers(500), answers(500)},
			[]time.Duration{160 * time.Millisecond, 4 * time.Second},
			[]time.Duration{240 * time.Millisecond, 6 * time.Second},
		},
		"exponential": {
			`{"base":"300ms","factor":20,"jitter":"none"}`,
			[]act{answers(500), answers(404), answers(500)},
			[]time.Duration{300 * time.Millisecond, 6 * time.Second},
			nil,
		},
		"exponential to its cap": {
			`{"base":"100ms","factor":100,"cap":"4s","jitter":"none"}`,
			[]act{answers(500), answers(404), answers(500)},
			[]time.Duration{100 * time.Millisecond, 4 * time.Second},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := "/" + strings.ReplaceAll(name, " ", "-")
			more := fmt.Sprintf(`,"timeout":"1s","max_attempts":%d,"retry":%s`, len(c.script), c.policy)
			e := b.create(t, s.play(path, c.script...), more)
			job := b.await(t, b.deliver(t, e.ID, 1)[0], len(c.script))
			require.Equal(t, queue.Failed, job.State, "the endpoint's max_attempts end it")
			require.Nil(t, job.NextAttemptAt)
			if c.most == nil {
				c.most = c.least
			}
			for i, gap := range gaps(job) {
				require.GreaterOrEqual(t, gap, c.least[i], "before attempt %d", i+2)
				require.LessOrEqual(t, gap, c.most[i]+late, "before attempt %d", i+2)
			}
			// What is on record is what the receiver saw.
			came := s.arrivals(path)
			require.Len(t, came, len(c.script))
			for i, a := range job.Attempts {
				require.Equal(t, i+1, a.Attempt)
				require.WithinDuration(t, a.StartedAt, came[i].at, late)
				require.Equal(t, job.ID.String(), came[i].header.Get("webhook-id"))
			}
		})
	}
}

// waits gives what stands between the end of the last attempt of each job and the next
// one, as it was decided: to the microsecond, whatever the machine does.
func waits(t *testing.T, db *pg.DB, ids []uuid.UUID) []time.Duration {
	t.Helper()
	var all []time.Duration
	for _, id := range ids {
		job, err := jobs.Get(t.Context(), db, id)
		require.NoError(t, err)
		require.Equal(t, queue.Retrying, job.State)
		all = append(all, job.NextAttemptAt.Sub(*job.Attempts[len(job.Attempts)-1].FinishedAt))
	}
	slices.Sort(all)
	return all
}

// TestJitterSpreadsTheAttemptsOfACrowd fails many webhooks of an endpoint at once and
// looks at when they are to be tried again.
func TestJitterSpreadsTheAttemptsOfACrowd(t *testing.T) {
	t.Parallel()
	const crowd = 80
	b, s := start(t), openStage(t)
	b.work(t)
	for name, c := range map[string]struct {
		policy      string
		least, most time.Duration
	}{
		"full":         {`{"base":"1h","factor":1,"cap":"1h"}`, 0, time.Hour},
		"proportional": {`{"strategy":"ladder","ladder":["1h"]}`, 48 * time.Minute, 72 * time.Minute},
		"none":         {`{"strategy":"ladder","ladder":["1h"],"jitter":"none"}`, time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := b.create(t, s.play("/"+name, answers(http.StatusNotFound)), `,"retry":`+c.policy) // which no breaker opens for
			ids := b.deliver(t, e.ID, crowd)
			for _, id := range ids {
				b.await(t, id, 1)
			}
			all := waits(t, b.db, ids)
			require.GreaterOrEqual(t, all[0], c.least)
			require.LessOrEqual(t, all[crowd-1], c.most)
			if c.least == c.most {
				return
			}
			// Each quarter of the range has its share: 20 of 80, and fewer than 4 by a chance
			// of less than one in a million.
			quarter := (c.most - c.least) / 4
			for q := range 4 {
				from := c.least + time.Duration(q)*quarter
				n := 0
				for _, w := range all {
					if w >= from && w < from+quarter {
						n++
					}
				}
				require.GreaterOrEqual(t, n, 4, "waits from %s to %s: %v", from, from+quarter, all)
			}
			require.Greater(t, len(slices.Compact(slices.Clone(all))), crowd*9/10)
		})
	}
}

// TestReceiverIsObeyedAndBurnsNoAttempt asks in each form for some seconds, with one
// attempt to lose.
func TestReceiverIsObeyedAndBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	b, s := start(t), openStage(t)
	b.work(t)
	for path, turnedAway := range map[string]act{
		"/429-seconds": answers(429, "Retry-After: 3"), "/503-seconds": answers(503, "Retry-After: 3"),
		"/429-date": answersAt(429, 4*time.Second), "/503-date": answersAt(503, 4*time.Second), // less up to a second, which a date does not tell
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			e := b.create(t, s.play(path, turnedAway, turnedAway, answers(200)), `,"max_attempts":1,"retry":{"strategy":"ladder","ladder":["0s"]}`)
			job := b.await(t, b.deliver(t, e.ID, 1)[0], 3)
			require.Equal(t, queue.Succeeded, job.State)
			var outcomes []string
			for _, a := range job.Attempts {
				require.Equal(t, 1, a.Attempt, "none is burned")
				outcomes = append(outcomes, a.Outcome)
			}
			require.Equal(t, []string{"throttled", "throttled", "succeeded"}, outcomes)
			for _, gap := range gaps(job) {
				require.GreaterOrEqual(t, gap, 2900*time.Millisecond)
				require.LessOrEqual(t, gap, 4*time.Second+late)
			}
		})
	}
}

// TestAgeEndsAWebhook has a next attempt that would come too late, and one that would not.
func TestAgeEndsAWebhook(t *testing.T) {
	t.Parallel()
	b, s := start(t), openStage(t)
	b.work(t)
	for wait, state := range map[string]queue.State{"2m": queue.Failed, "20s": queue.Retrying} {
		e := b.create(t, s.play("/"+wait, answers(500)), `,"max_age":"1m","retry":{"strategy":"ladder","ladder":["`+wait+`"],"jitter":"none"}`)
		job := b.await(t, b.deliver(t, e.ID, 1)[0], 1)
		require.Equal(t, state, job.State, wait)
		require.Equal(t, webhooks.KindName, job.Kind)
	}
}
