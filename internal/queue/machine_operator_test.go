package queue_test

import (
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/queue"
)

// What operators and upkeep do to the machine.

// drawJob draws any job, the newer the likelier.
func (m *machine) drawJob(t *rapid.T) *modelJob {
	if len(m.ids) == 0 {
		t.Skip("no jobs")
	}
	n := rapid.IntRange(0, min(len(m.ids), 15)-1).Draw(t, "job")
	return m.jobs[m.ids[len(m.ids)-1-n]]
}

func (m *machine) cancel(t *rapid.T) { m.cancelJob(t, m.drawJob(t)) }

// cancelSkipped cancels a job that waits outside of its line, of which there are few.
func (m *machine) cancelSkipped(t *rapid.T) {
	var skipped []*modelJob
	for _, id := range m.ids {
		if j := m.jobs[id]; j.passed && j.waits() {
			skipped = append(skipped, j)
		}
	}
	if len(skipped) == 0 {
		t.Skip("none has skipped")
	}
	m.cancelJob(t, rapid.SampledFrom(skipped).Draw(t, "job"))
}

func (m *machine) cancelJob(t *rapid.T, j *modelJob) {
	t.Helper()
	state, err := queue.Cancel(t.Context(), m.db, j.ID)
	switch {
	case j.waits():
		require.NoError(t, err)
		require.Equal(t, queue.Canceled, state)
		m.canceled(j)
	case j.Place == running:
		require.NoError(t, err)
		require.Equal(t, queue.Running, state)
		j.Wanted = true
	default:
		requireConflict(t, err, "job_ended")
	}
}

func requireConflict(t *rapid.T, err error, code string) {
	t.Helper()
	f := fault.As(err)
	require.NotNil(t, f, "%v", err)
	require.Equal(t, fault.Conflict, f.Kind)
	require.Equal(t, code, f.Code)
}

// sweep carries out the cancels that came as their job left its worker.
func (m *machine) sweep(t *rapid.T) {
	require.NoError(t, m.sweeper.Pass(t.Context()))
	for _, j := range m.jobs {
		if j.Wanted && j.Place != running {
			m.canceled(j)
		}
	}
}

func (m *machine) takeUp(t *rapid.T) {
	j := m.drawJob(t)
	err := queue.Retry(t.Context(), m.db, j.ID)
	if j.Place != ended {
		requireConflict(t, err, "job_not_ended")
		return
	}
	require.NoError(t, err)
	j.later, j.standing.Priority, j.crashes = false, j.NewJob.Priority, 0
	m.begin(j)
}

func (m *machine) change(t *rapid.T) {
	j := m.drawJob(t)
	var c queue.Change
	if rapid.Bool().Draw(t, "its priority") {
		c.Priority = number(rapid.IntRange(queue.HighestPriority, queue.LowestPriority).Draw(t, "priority"))
	}
	later := rapid.Bool().Draw(t, "later")
	if rapid.Bool().Draw(t, "its time") {
		c.RunAt = number(time.Now().Add(-time.Hour))
		if later {
			c.RunAt = number(time.Now().Add(time.Hour))
		}
	}
	err := c.Apply(t.Context(), m.db, j.ID)
	switch {
	case j.Place == running:
		requireConflict(t, err, "job_running")
		return
	case j.Place == ended:
		requireConflict(t, err, "job_ended")
		return
	}
	require.NoError(t, err)
	if c.Priority != nil {
		j.standing.Priority = *c.Priority
	}
	if c.RunAt != nil {
		j.later = later
		if j.Place != blocked {
			j.wait(later)
		}
	}
}

// promote lets the time of some scheduled jobs come.
func (m *machine) promote(t *rapid.T) {
	for _, id := range m.ids {
		j := m.jobs[id]
		if j.Place != scheduled || rapid.Bool().Draw(t, "not yet") {
			continue
		}
		_, err := m.db.ExecContext(t.Context(), `UPDATE signalstack.scheduled SET run_at = now() WHERE job_id = $1`, id)
		require.NoError(t, err)
		j.wait(false)
	}
	require.NoError(t, m.promoter.Pass(t.Context()))
}

// control pauses or resumes the queue, or limits it or one of its lanes.
func (m *machine) control(t *rapid.T) {
	c := queue.Control{Queue: "default", Weight: rapid.IntRange(1, 3).Draw(t, "weight"), Lane: rapid.SampledFrom([]string{
		"", "default", "default#x", "default#y",
	}).Draw(t, "lane")}
	if c.Lane == "" {
		c.Weight, c.Paused = 1, rapid.IntRange(0, 3).Draw(t, "paused") == 0
	}
	if rapid.Bool().Draw(t, "limited") {
		c.MaxRunning = number(rapid.IntRange(1, 4).Draw(t, "most"))
	}
	if rapid.IntRange(0, 2).Draw(t, "rated") == 0 {
		// So slow that nothing comes back within a run.
		c.Rate, c.PeriodMS = number(1), number(time.Hour.Milliseconds())
		c.Burst = number(rapid.IntRange(1, 6).Draw(t, "burst"))
	}
	require.NoError(t, queue.SetControl(t.Context(), m.db, c))
	used := 0
	if before := m.controls[c.Lane]; before != nil && before.Rate != nil && c.Rate != nil {
		used = before.used
	}
	m.controls[c.Lane] = &modelControl{Control: c, used: used}
	maps.DeleteFunc(m.controls, func(_ string, c *modelControl) bool {
		return !c.Paused && c.Weight == 1 && c.MaxRunning == nil && c.Rate == nil
	})
}

// workOff ends a run: without limits, and with all times come, everything that is not
// finished succeeds, and no key is left stuck or busy.
func (m *machine) workOff(t *rapid.T) {
	for lane := range m.controls {
		require.NoError(t, queue.SetControl(t.Context(), m.db, queue.Control{Queue: "default", Lane: lane, Weight: 1}))
	}
	c := m.claimers[0]
	jobs := slices.DeleteFunc(slices.Clone(m.claims), func(c queue.Claimed) bool { return !m.current(c) })
	for looks := 0; looks < 3; {
		batch := make([]queue.Settlement, len(jobs))
		for i, j := range jobs {
			batch[i] = queue.Settlement{
				JobID: j.ID, Lease: j.Lease, Tenant: j.Tenant, OrderingKey: j.OrderingKey, Skips: j.Skips, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded,
			}
		}
		m.inTx(t, func(tx *sqlx.Tx) error {
			states, err := settleAndCount(t.Context(), tx, batch)
			require.Len(t, states, len(jobs))
			return err
		})
		_, err := m.db.ExecContext(t.Context(), `UPDATE signalstack.scheduled SET run_at = now()`)
		require.NoError(t, err)
		require.NoError(t, m.promoter.Pass(t.Context()))
		m.listen(t)
		jobs, err = c.Claim(t.Context(), 100)
		require.NoError(t, err)
		if len(jobs) == 0 && !c.More() {
			looks++
		}
	}
	var left []string
	require.NoError(t, m.db.SelectContext(t.Context(), &left, `
		SELECT 'ready' FROM signalstack.ready UNION ALL SELECT 'scheduled' FROM signalstack.scheduled UNION ALL SELECT 'running' FROM signalstack.running
		UNION ALL SELECT 'ordered' FROM signalstack.ordered UNION ALL SELECT 'ordering_keys' FROM signalstack.ordering_keys`))
	require.Empty(t, left)
}
