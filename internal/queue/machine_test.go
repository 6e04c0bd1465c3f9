package queue_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// TestEngineDoesWhatItsModelDoes drives the engine with random acts of clients,
// workers, operators and upkeep, one at a time, and a model of it beside. After each
// act the two agree on every job; after each run the invariants hold.
func TestEngineDoesWhatItsModelDoes(t *testing.T) {
	t.Parallel()
	// Few but long runs, unless the command line asks for others.
	asked := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { asked[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "20", "rapid.steps": "150"} {
		if !asked[name] {
			require.NoError(t, flag.Set(name, value))
		}
	}
	db := newDB(t)
	heard := make(chan string, 10_000)
	go func() { _ = pg.Listen(t.Context(), db, queue.Channel, func(p string) { heard <- p }) }()
	require.Empty(t, <-heard)
	reaper := &queue.Reaper{DB: db, Log: discard(), Interval: 10 * time.Millisecond, Lease: 600 * time.Millisecond}
	reaper.Pass(t.Context()) // its calm begins
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t, db, heard, reaper)
		t.Repeat(map[string]func(*rapid.T){
			"": m.agree, "enqueue": m.enqueue, "claim": m.claim, "claim again": m.claim, "extend": m.extend,
			"settle": m.settle, "settle again": m.settle, "expire": m.expire, "reap": m.reap, "crash": m.crash, "release orphans": m.releaseOrphans,
			"cancel": m.cancel, "cancel skipped": m.cancelSkipped, "sweep": m.sweep, "take up": m.takeUp, "change": m.change, "promote": m.promote, "control": m.control,
		})
		m.sweep(t)
		m.agree(t)
		m.workOff(t)
		broken, err := brokenInvariants(t.Context(), db)
		require.NoError(t, err)
		require.Empty(t, broken)
	})
}

// machine is a run: the database, three workers and the model.
type machine struct {
	db       *pg.DB
	heard    <-chan string
	syncs    int
	claimers []*queue.Claimer
	promoter *queue.Promoter
	reaper   *queue.Reaper
	sweeper  *queue.CancelSweeper

	ids      []uuid.UUID // in the order of their coming
	jobs     map[uuid.UUID]*modelJob
	order    map[string][]uuid.UUID   // unfinished jobs by ordering key
	claims   []queue.Claimed          // all that were ever made
	controls map[string]*modelControl // by lane
}

// workers is how many claim.
const workers = 3

func newMachine(t *rapid.T, db *pg.DB, heard <-chan string, reaper *queue.Reaper) *machine {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `
		TRUNCATE signalstack.jobs, signalstack.ready, signalstack.scheduled, signalstack.running, signalstack.ordered, signalstack.ordering_keys, signalstack.blocked,
		         signalstack.cancels, signalstack.attempts, signalstack.controls, signalstack.analytics_deltas`)
	require.NoError(t, err)
	m := &machine{
		db: db, heard: heard, promoter: queue.NewPromoter(db, discard()), sweeper: &queue.CancelSweeper{DB: db, Log: discard()},
		reaper: reaper, jobs: map[uuid.UUID]*modelJob{}, order: map[string][]uuid.UUID{}, controls: map[string]*modelControl{},
	}
	for range workers {
		m.claimers = append(m.claimers, lazy(db))
	}
	return m
}

// agree compares the whole database with the model.
func (m *machine) agree(t *rapid.T) {
	type row struct {
		ID uuid.UUID `db:"job_id"`
		standing
	}
	var places, ends []row
	var wanted []uuid.UUID
	require.NoError(t, m.db.SelectContext(t.Context(), &places, `
		SELECT job_id, 'ready' AS place, attempt, lease, priority FROM signalstack.ready
		UNION ALL SELECT job_id, 'scheduled', attempt, lease, priority FROM signalstack.scheduled
		UNION ALL SELECT job_id, 'running', attempt, lease, priority FROM signalstack.running
		UNION ALL SELECT job_id, 'blocked', 0, lease, priority FROM signalstack.ordered`))
	require.NoError(t, m.db.SelectContext(t.Context(), &ends, `
		SELECT DISTINCT ON (job_id) job_id, 'ended' AS place, state, attempt, lease FROM signalstack.attempts ORDER BY job_id, lease DESC`))
	require.NoError(t, m.db.SelectContext(t.Context(), &wanted, `SELECT job_id FROM signalstack.cancels`))
	got := map[uuid.UUID]standing{}
	for _, r := range append(ends, places...) { // a place says more than an earlier attempt
		got[r.ID] = r.standing
	}
	for _, id := range wanted {
		s := got[id]
		s.Wanted = true
		got[id] = s
	}
	require.Len(t, got, len(m.jobs))
	for id, j := range m.jobs {
		want := j.standing
		if want.Place == ended {
			want.Priority = 0 // it means nothing any more
		}
		require.Equal(t, want, got[id], m.name(id))
	}
}

// name tells jobs apart in messages and in a failing run's draws.
func (m *machine) name(id uuid.UUID) string { return fmt.Sprintf("job %d", slices.Index(m.ids, id)) }

// The lanes and keys of a run; few, so that jobs meet.
var (
	orderingKeys = []string{"", "", "a", "b"}
	limitKeys    = []string{"", "x", "y"}
)

func (m *machine) enqueue(t *rapid.T) {
	batch := make([]queue.NewJob, rapid.IntRange(1, 4).Draw(t, "jobs"))
	for i := range batch {
		batch[i] = newJob(func(j *queue.NewJob) {
			j.OrderingKey = rapid.SampledFrom(orderingKeys).Draw(t, "ordering key")
			j.Skips = j.OrderingKey != "" && rapid.Bool().Draw(t, "skips")
			j.LimitKey = rapid.SampledFrom(limitKeys).Draw(t, "limit key")
			j.Priority = rapid.IntRange(queue.HighestPriority, queue.LowestPriority).Draw(t, "priority")
			j.MaxAttempts = rapid.IntRange(1, 4).Draw(t, "max attempts")
			if rapid.IntRange(0, 3).Draw(t, "late") == 0 {
				j.Delay = time.Hour
			}
		})
	}
	m.inTx(t, func(tx *sqlx.Tx) error { return addAndCount(t.Context(), tx, batch) })
	for _, j := range batch {
		job := &modelJob{NewJob: j, later: j.Delay > 0, standing: standing{Priority: j.Priority}}
		m.ids = append(m.ids, j.ID)
		m.jobs[j.ID] = job
		m.begin(job)
	}
}

// inTx runs a transaction that must not fail.
func (m *machine) inTx(t *rapid.T, f func(*sqlx.Tx) error) {
	t.Helper()
	require.NoError(t, pg.InTx(t.Context(), m.db, f))
}

// listen hands the workers all that was notified so far, as their runners would.
func (m *machine) listen(t *rapid.T) {
	m.syncs++
	mark := fmt.Sprintf("mark\t%p\t%d", m, m.syncs)
	_, err := m.db.ExecContext(t.Context(), `SELECT pg_notify($1, $2)`, queue.Channel, mark)
	require.NoError(t, err)
	for payload := range m.heard {
		switch n := queue.ParseNotice(payload); n.Kind {
		case "": // a new connection, or our mark
			for _, c := range m.claimers {
				if payload == "" {
					c.Forget()
				}
			}
		case queue.NoticeReady:
			for _, c := range m.claimers {
				c.Hear(n)
			}
		case queue.NoticeScheduled:
			m.promoter.Wake(n.At)
		case queue.NoticeControl:
			all, err := queue.Controls(t.Context(), m.db)
			require.NoError(t, err)
			for _, c := range m.claimers {
				c.SetControls(all["default"], all[queue.AnyQueue])
			}
		}
		if payload == mark {
			return
		}
	}
}

// claim has a worker claim until it has what it wants or sees nothing more. As the
// runner it looks again then: each look goes through a part of the lanes. It must get
// all that may be had, in the right order within each lane.
func (m *machine) claim(t *rapid.T) {
	m.listen(t)
	c := m.claimers[m.worker(t)]
	want := rapid.IntRange(1, 5).Draw(t, "limit")
	due := min(want, m.claimable())
	got := 0
	for looks := 0; got < want && looks < 3; {
		lines := m.lines(t)
		jobs, err := c.Claim(t.Context(), want-got)
		require.NoError(t, err)
		m.checkTurn(t, lines, jobs)
		for _, j := range jobs {
			m.claimed(t, j)
		}
		got += len(jobs)
		if !c.More() {
			looks++
		}
	}
	require.Equal(t, due, got, "a worker gets what may be had, and no more: %v under %v", m.lines(t), m.controls)
}

func (m *machine) worker(t *rapid.T) int { return rapid.IntRange(0, workers-1).Draw(t, "worker") }

func (m *machine) claimed(t *rapid.T, c queue.Claimed) {
	j := m.jobs[c.ID]
	require.Equal(t, ready, j.Place, "%s was claimed", m.name(c.ID))
	j.Place, j.Attempt, j.Lease = running, j.Attempt+1, j.Lease+1
	require.Equal(t, []any{j.Attempt, j.Lease, j.Lane(), j.standing.Priority}, []any{c.Attempt, c.Lease, c.Lane, c.Priority})
	m.claims = append(m.claims, c)
	for lane, control := range m.controls {
		if control.Rate != nil && (lane == "" || lane == c.Lane) {
			control.used++
		}
	}
}

// waiting is a row of ready.
type waiting struct {
	ID       uuid.UUID `db:"job_id"`
	Lane     string    `db:"lane"`
	Priority int       `db:"priority"`
	ReadyAt  time.Time `db:"ready_at"`
}

func (m *machine) lines(t *rapid.T) map[string][]waiting {
	var rows []waiting
	require.NoError(t, m.db.SelectContext(t.Context(), &rows, `SELECT job_id, lane, priority, ready_at FROM signalstack.ready ORDER BY ready_at, job_id`))
	lines := map[string][]waiting{}
	for _, w := range rows {
		lines[w.Lane] = append(lines[w.Lane], w)
	}
	return lines
}

// checkTurn checks that a claim took the first of each lane: by priority, or now
// and then by age alone.
func (m *machine) checkTurn(t *rapid.T, lines map[string][]waiting, jobs []queue.Claimed) {
	got := map[string]map[uuid.UUID]bool{}
	for _, j := range jobs {
		if got[j.Lane] == nil {
			got[j.Lane] = map[uuid.UUID]bool{}
		}
		got[j.Lane][j.ID] = true
	}
	firstAre := func(line []waiting, ids map[uuid.UUID]bool) bool {
		return !slices.ContainsFunc(line[:len(ids)], func(w waiting) bool { return !ids[w.ID] })
	}
	byAge, byPriority := true, true
	for lane, ids := range got {
		line := lines[lane]
		byAge = byAge && firstAre(line, ids)
		slices.SortStableFunc(line, func(a, b waiting) int { return cmp.Compare(a.Priority, b.Priority) })
		byPriority = byPriority && firstAre(line, ids)
	}
	require.True(t, byAge || byPriority, "claimed out of turn")
}

// drawClaims draws some claims, of those that hold or of all that were ever made.
func (m *machine) drawClaims(t *rapid.T, old bool) []queue.Claimed {
	from := slices.Clone(m.claims)
	if !old {
		from = slices.DeleteFunc(from, func(c queue.Claimed) bool { return !m.current(c) })
	}
	if len(from) == 0 {
		t.Skip("no claims")
	}
	at := rapid.SliceOfNDistinct(rapid.IntRange(0, len(from)-1), 1, min(5, len(from)), rapid.ID[int]).Draw(t, "claims")
	drawn := make([]queue.Claimed, len(at))
	for i, n := range at {
		drawn[i] = from[n]
	}
	return drawn
}

func (m *machine) extend(t *rapid.T) {
	drawn := m.drawClaims(t, rapid.Bool().Draw(t, "old"))
	asked, want := []queue.Held{}, map[queue.Held]bool{}
	for _, c := range drawn {
		asked = append(asked, held(c))
		if m.current(c) {
			want[held(c)] = true
			m.jobs[c.ID].expired = false
		}
	}
	kept, err := queue.Extend(t.Context(), m.db, asked, lease)
	require.NoError(t, err)
	require.Equal(t, want, kept)
}

// settle ends claims in one batch, and may take the next jobs of their keys. Claims
// that do not hold any more, of dead workers and of living ones that lost them, change
// nothing.
func (m *machine) settle(t *rapid.T) {
	drawn := m.drawClaims(t, rapid.IntRange(0, 2).Draw(t, "old") == 0)
	batch, want, over := make([]queue.Settlement, len(drawn)), map[queue.Held]queue.State{}, map[queue.Held]bool{}
	for i, c := range drawn {
		batch[i] = queue.Settlement{
			JobID: c.ID, Lease: c.Lease, Tenant: c.Tenant, OrderingKey: c.OrderingKey, Skips: c.Skips, Outcome: queue.OutcomeError,
			State: rapid.SampledFrom([]queue.State{queue.Succeeded, queue.Failed, queue.Canceled, queue.Retrying, queue.Retrying, queue.Released}).Draw(t, "state"),
		}
		if batch[i].State == queue.Retrying && c.Attempt >= c.MaxAttempts {
			batch[i].State = queue.Failed
		}
		if batch[i].State == queue.Retrying && rapid.IntRange(0, 2).Draw(t, "throttled") == 0 {
			batch[i].Outcome = queue.OutcomeThrottled
		}
		if rapid.Bool().Draw(t, "delayed") {
			batch[i].Delay = time.Hour
		}
		batch[i].TakeNext = rapid.Bool().Draw(t, "take next")
		if j := m.jobs[c.ID]; m.current(c) {
			had := c.OrderingKey != "" && !j.passed
			require.Equal(t, had, c.HasTurn(), m.name(c.ID))
			want[held(c)] = m.settled(j, batch[i])
			over[held(c)] = had && (j.Place == ended || j.passed)
		}
	}
	var got map[queue.Held]queue.State
	var taken []queue.Claimed
	worker := m.claimers[m.worker(t)].Worker
	m.inTx(t, func(tx *sqlx.Tx) (err error) {
		got, taken, err = settleAndTake(t.Context(), tx, batch, worker)
		return err
	})
	require.Equal(t, want, got)
	for _, next := range taken {
		ended := slices.IndexFunc(batch, func(s queue.Settlement) bool {
			return s.TakeNext && s.OrderingKey == next.OrderingKey && over[queue.Held{JobID: s.JobID, Lease: s.Lease}]
		})
		require.GreaterOrEqual(t, ended, 0, "%s was taken for none whose turn ended", m.name(next.ID))
		before := m.jobs[batch[ended].JobID]
		require.Equal(t, []any{before.Lane(), before.standing.Priority}, []any{next.Lane, next.Priority}, "%s passed another line", m.name(next.ID))
		m.claimed(t, next) // it was ready: the first of its key
	}
}

// settleAndCount settles as the runner does, with the facts in the same
// transaction.
func settleAndCount(ctx context.Context, tx *sqlx.Tx, batch []queue.Settlement) (map[queue.Held]queue.State, error) {
	states, _, err := settleAndTake(ctx, tx, batch, uuid.Nil)
	return states, err
}

func settleAndTake(ctx context.Context, tx *sqlx.Tx, batch []queue.Settlement, worker uuid.UUID) (map[queue.Held]queue.State, []queue.Claimed, error) {
	states, taken, err := queue.SettleAndTake(ctx, tx, batch, worker, lease)
	if err != nil {
		return nil, nil, err
	}
	var deltas []analytics.Delta
	for _, s := range batch {
		state, current := states[queue.Held{JobID: s.JobID, Lease: s.Lease}]
		if !current || state == queue.Released {
			continue
		}
		d := analytics.Delta{Fact: analytics.AttemptEnded, Tenant: "default", Kind: "log", Queue: "default", Outcome: s.Outcome}
		if state != s.State {
			d.Outcome = queue.OutcomeCanceled
		}
		deltas = append(deltas, d)
		if state.Final() {
			d.Fact, d.Outcome = analytics.JobEnded, string(state)
			deltas = append(deltas, d)
		}
	}
	return states, taken, analytics.Record(ctx, tx, deltas)
}

// expire lets leases run out. Their workers do not know.
func (m *machine) expire(t *rapid.T) {
	for _, c := range m.drawClaims(t, false) {
		m.runOut(t, c)
	}
}

func (m *machine) runOut(t *rapid.T, c queue.Claimed) {
	_, err := m.db.ExecContext(t.Context(), `UPDATE signalstack.running SET lease_until = now() WHERE job_id = $1`, c.ID)
	require.NoError(t, err)
	m.jobs[c.ID].expired = true
}

// reap takes away all that ran out.
func (m *machine) reap(t *rapid.T) {
	done := func() bool {
		m.reaper.Pass(t.Context())
		var left bool
		err := m.db.GetContext(t.Context(), &left, `SELECT EXISTS (SELECT FROM signalstack.running WHERE lease_until < now())`)
		return err == nil && !left
	}
	if !done() { // a slow moment, which the reaper takes for an outage, makes it wait for a lease
		require.Eventually(t, done, 20*time.Second, 10*time.Millisecond)
	}
	for _, id := range m.ids { // in any order: no two of one key run at once in their turn
		j := m.jobs[id]
		if !j.expired {
			continue
		}
		j.crashes++
		switch {
		case j.Wanted:
			m.end(j, queue.Canceled)
		case j.Attempt >= j.MaxAttempts || j.crashes >= 3:
			m.end(j, queue.Failed)
		default:
			m.failed(j, false)
		}
	}
}

// crash ends a worker. Its next life knows nothing of its claims, which run out.
func (m *machine) crash(t *rapid.T) {
	n := m.worker(t)
	for _, c := range m.held(t, m.claimers[n].Worker) {
		m.runOut(t, c)
	}
	m.claimers[n] = lazy(m.db)
	all, err := queue.Controls(t.Context(), m.db)
	require.NoError(t, err)
	m.claimers[n].SetControls(all["default"], all[queue.AnyQueue])
}

// held gives the claims of a worker that hold.
func (m *machine) held(t *rapid.T, worker uuid.UUID) []queue.Claimed {
	var ids []uuid.UUID
	require.NoError(t, m.db.SelectContext(t.Context(), &ids, `SELECT job_id FROM signalstack.running WHERE worker = $1`, worker))
	return slices.DeleteFunc(slices.Clone(m.claims), func(c queue.Claimed) bool { return !m.current(c) || !slices.Contains(ids, c.ID) })
}

// releaseOrphans has a worker forget some of its claims, as if their answers had
// been lost.
func (m *machine) releaseOrphans(t *rapid.T) {
	worker := m.claimers[m.worker(t)].Worker
	var known []queue.Held
	forgotten := 0
	for _, c := range m.held(t, worker) {
		if rapid.Bool().Draw(t, "known") {
			known = append(known, held(c))
			continue
		}
		forgotten++
		j := m.jobs[c.ID]
		j.Attempt--
		j.wait(false)
	}
	n, err := queue.ReleaseOrphans(t.Context(), m.db, worker, known)
	require.NoError(t, err)
	require.Equal(t, forgotten, n)
}
