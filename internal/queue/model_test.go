package queue_test

import (
	"slices"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/queue"
)

// place is where a job stands in the model.
type place string

const (
	ready     place = "ready"
	scheduled place = "scheduled"
	running   place = "running"
	blocked   place = "blocked" // by an earlier job of its ordering key
	ended     place = "ended"
)

// standing is what the model and the database must agree on.
type standing struct {
	Place    place       `db:"place"`
	State    queue.State `db:"state"` // the newest attempt's, of an ended job
	Attempt  int         `db:"attempt"`
	Lease    int64       `db:"lease"`
	Priority int         `db:"priority"`
	Wanted   bool        `db:"wanted"` // somebody wants it canceled
}

// modelJob is a job in the model.
type modelJob struct {
	standing
	queue.NewJob
	later   bool // its run_at, while it is blocked, is in the future
	crashes int
	expired bool // its lease has run out
	passed  bool // it skips and has lost its turn
}

// modelControl is what an operator has set, and what of a rate is used up.
type modelControl struct {
	queue.Control
	used int
}

// begin makes a job wait, in its turn.
func (m *machine) begin(j *modelJob) {
	j.State, j.Attempt, j.Place, j.passed = "", 0, blocked, false
	if j.OrderingKey == "" {
		j.wait(j.later)
		return
	}
	m.order[j.OrderingKey] = append(m.order[j.OrderingKey], j.ID)
	m.advance(j.OrderingKey)
}

func (m *machine) advance(key string) {
	if len(m.order[key]) > 0 {
		if first := m.jobs[m.order[key][0]]; first.Place == blocked {
			first.wait(first.later)
		}
	}
}

func (j *modelJob) wait(later bool) {
	j.expired = false
	if j.Place = ready; later {
		j.Place = scheduled
	}
}

func (j *modelJob) waits() bool {
	return j.Place == ready || j.Place == scheduled || j.Place == blocked
}

// end ends a job and lets the next of its ordering key come.
func (m *machine) end(j *modelJob, state queue.State) {
	j.Place, j.State, j.Wanted, j.expired = ended, state, false, false
	m.leave(j)
}

// leave takes a job out of the line of its ordering key.
func (m *machine) leave(j *modelJob) {
	key := j.OrderingKey
	m.order[key] = slices.DeleteFunc(m.order[key], func(id uuid.UUID) bool { return id == j.ID })
	m.advance(key)
}

// failed has a job wait for another attempt after one that failed.
func (m *machine) failed(j *modelJob, later bool) {
	j.wait(later)
	if j.Skips {
		j.passed = true
		m.leave(j)
	}
}

// claimable is how many jobs the limits let a worker have now.
func (m *machine) claimable() int {
	due, at := map[string]int{}, map[string]int{}
	for _, j := range m.jobs {
		if j.Place == ready {
			due[j.Lane()]++
		}
		if j.Place == running {
			at[j.Lane()]++
			at[""]++
		}
	}
	sum := 0
	for lane, n := range due {
		sum += m.controls[lane].room(n, at[lane])
	}
	return m.controls[""].room(sum, at[""])
}

// room is how many of n jobs may be claimed when so many run.
func (c *modelControl) room(n, running int) int {
	if c == nil {
		return n
	}
	if c.Paused {
		return 0
	}
	if c.MaxRunning != nil {
		n = min(n, *c.MaxRunning-running)
	}
	if c.Rate != nil {
		n = min(n, *c.Burst-c.used)
	}
	return max(n, 0)
}

// settled is the model's end of a claim.
func (m *machine) settled(j *modelJob, s queue.Settlement) queue.State {
	switch {
	case s.State.Final():
		m.end(j, s.State)
		return s.State
	case j.Wanted:
		m.end(j, queue.Canceled)
		return queue.Canceled
	}
	if s.State == queue.Released || s.Outcome == queue.OutcomeThrottled {
		j.Attempt--
		j.wait(s.Delay > 0)
		return s.State
	}
	m.failed(j, s.Delay > 0)
	return s.State
}

// canceled ends a job that waits; its lease is one that no worker had.
func (m *machine) canceled(j *modelJob) {
	j.Lease++
	m.end(j, queue.Canceled)
}

// current says whether a claim still holds.
func (m *machine) current(c queue.Claimed) bool {
	j := m.jobs[c.ID]
	return j.Place == running && j.Lease == c.Lease
}
