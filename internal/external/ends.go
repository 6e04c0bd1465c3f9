package external

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// verb is what a worker does with a lease.
type verb int

const (
	complete verb = iota
	fail
	snooze
	extend // also to say how far it is
)

// act is one worker's word on one lease.
type act struct {
	held queue.Held
	verb verb

	result    []byte         // of complete
	err       string         // of fail
	permanent bool           // of fail: no further attempt would help
	after     *time.Duration // of fail: until the next attempt; nil: by the retry policy
	delay     time.Duration  // of snooze
	lease     time.Duration  // of extend; 0 leaves its end as it is
	progress  []byte         // of extend; nil: none
}

// came is what became of an act.
type came struct {
	lost     bool // the lease was not held any more, and nothing was changed
	timedOut bool // lost by this very act: the attempt had lasted too long
	replayed bool // the act was done before
	state    queue.State
	next     *time.Time // attempt
	extended queue.Extended
}

// maxTogether is how many acts share a transaction.
const maxTogether = 1000

func (a *API) newGroup() *pg.Group[[]act, []came] {
	return pg.NewGroup(pg.GroupConfig[[]act]{
		MaxSize: maxTogether, MaxWaiting: maxAsking, MaxBytes: maxHeld,
		Weight: func(acts []act) int { return len(acts) },
		Bytes: func(acts []act) (n int) {
			for _, x := range acts {
				n += len(x.result) + len(x.err) + len(x.progress)
			}
			return n
		},
	}, a.commit)
}

// maxHeld bounds the memory of results and errors that wait for a commit.
const maxHeld = 64 << 20

// do gives the acts of one request to the next transaction and waits for it.
func (a *API) do(ctx context.Context, acts []act) ([]came, error) {
	if len(acts) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return a.group.Do(ctx, acts)
}

// commit stores the acts of several requests. What the database refuses sinks its own
// request only.
func (a *API) commit(ctx context.Context, batch [][]act) []pg.Outcome[[]came] {
	done, err := a.store(ctx, slices.Concat(batch...))
	if err != nil && len(batch) > 1 && pg.IsBadData(err) {
		var apart []pg.Outcome[[]came]
		for _, acts := range batch {
			apart = append(apart, a.commit(ctx, [][]act{acts})...)
		}
		return apart
	}
	if err != nil {
		return pg.FailAll[[]act, []came](batch, pg.Fault(err))
	}
	out := make([]pg.Outcome[[]came], len(batch))
	for i, acts := range batch {
		out[i].Value, done = done[:len(acts):len(acts)], done[len(acts):]
	}
	return out
}

// store does a batch of acts in one transaction: first the extensions, then the ends.
func (a *API) store(ctx context.Context, batch []act) (out []came, err error) {
	err = pg.InSteadyTx(ctx, a.DB, func(tx *sqlx.Tx) error {
		out = make([]came, len(batch))
		var rest []int // places of acts that end a lease, and of extensions of none that is held
		if rest, err = extendAll(ctx, tx, batch, out); err != nil || len(rest) == 0 {
			return err
		}
		return a.endAll(ctx, tx, batch, out, rest)
	})
	return out, err
}

func extendAll(ctx context.Context, tx *sqlx.Tx, batch []act, out []came) (rest []int, err error) {
	var wanted []queue.Extension
	for _, x := range batch {
		if x.verb == extend {
			wanted = append(wanted, queue.Extension{Held: x.held, For: x.lease})
		}
	}
	kept := map[queue.Held]queue.Extended{}
	if len(wanted) > 0 {
		if kept, err = queue.ExtendWithin(ctx, tx, wanted); err != nil {
			return nil, err
		}
	}
	latest := map[queue.Held][]byte{}
	for i, x := range batch {
		e, held := kept[x.held]
		if x.verb != extend || !held {
			rest = append(rest, i)
			continue
		}
		out[i].state, out[i].extended = queue.Running, e
		if x.progress != nil {
			latest[x.held] = x.progress
		}
	}
	return rest, storeProgress(ctx, tx, latest)
}

// storeProgress writes down how far jobs are, by the primary key and in its order.
func storeProgress(ctx context.Context, tx *sqlx.Tx, latest map[queue.Held][]byte) error {
	if len(latest) == 0 {
		return nil
	}
	held := slices.SortedFunc(maps.Keys(latest), func(a, b queue.Held) int {
		return cmp.Or(bytes.Compare(a.JobID[:], b.JobID[:]), cmp.Compare(a.Lease, b.Lease))
	})
	var ids pq.StringArray
	var leases pq.Int64Array
	var texts pq.ByteaArray
	for _, h := range held {
		ids, leases, texts = append(ids, h.JobID.String()), append(leases, h.Lease), append(texts, latest[h])
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO signalstack.lease_progress (job_id, lease, progress, at)
		SELECT job_id, lease, progress, now() FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS g (job_id, lease, progress)
		ON CONFLICT (job_id) DO UPDATE SET lease = excluded.lease, progress = excluded.progress, at = excluded.at`, ids, leases, texts)
	if err != nil {
		return fmt.Errorf("store progress: %w", err)
	}
	return nil
}

// endAll ends the leases of acts that are held, and notes of the others that they are
// not. Of two acts on one lease the first counts.
func (a *API) endAll(ctx context.Context, tx *sqlx.Tx, batch []act, out []came, rest []int) error {
	held := make([]queue.Held, len(rest))
	for i, at := range rest {
		held[i] = batch[at].held
	}
	found, err := queue.FindOutstanding(ctx, tx, held)
	if err != nil {
		return err
	}
	var ended []jobs.Ended
	first := map[queue.Held]int{}
	for _, at := range rest {
		o, x := found[batch[at].held], batch[at]
		_, again := first[x.held]
		switch {
		case o == nil || again:
			out[at].lost = true
			continue
		case x.verb == extend && o.Now.Before(o.Deadline()): // it moved between the statements
			return fault.Away(fmt.Errorf("lease %v could not be extended", x.held), time.Second)
		}
		first[x.held] = at
		ended = append(ended, jobs.Ended{Job: &o.Claimed, Settlement: a.settlementOf(x, o)})
	}
	// In the order of the ids, so that two transactions lock rows the same way.
	slices.SortFunc(ended, func(a, b jobs.Ended) int { return bytes.Compare(a.Job.ID[:], b.Job.ID[:]) })
	states := map[queue.Held]queue.State{}
	if len(ended) > 0 {
		if states, err = a.Kinds.Settle(ctx, tx, ended); err != nil {
			return err
		}
	}
	for _, e := range ended {
		at := first[heldOf(e.Job)]
		out[at].ended(batch[at], states, found[heldOf(e.Job)].Now, e)
	}
	return recall(ctx, tx, batch, out, rest)
}

// settlementOf says how an act ends an attempt.
func (a *API) settlementOf(x act, o *queue.Outstanding) queue.Settlement {
	s := queue.Settlement{Duration: o.Now.Sub(o.StartedAt)}
	switch {
	case x.verb == complete:
		s.State, s.Outcome, s.Result = queue.Succeeded, queue.OutcomeSucceeded, x.result
		return s
	case x.verb == snooze:
		s.State, s.Delay = queue.Released, x.delay
		return s
	case x.verb == extend:
		s.Outcome, s.Error = queue.OutcomeTimeout, "the attempt took longer than the job's timeout"
	case o.Wanted:
		s.State, s.Outcome, s.Error = queue.Canceled, queue.OutcomeCanceled, x.err
		return s
	case x.permanent:
		s.State, s.Outcome, s.Error = queue.Failed, queue.OutcomePermanent, x.err
		return s
	default:
		s.Outcome, s.Error = queue.OutcomeError, x.err
	}
	delay, more := a.Kinds.NextAttempt(&o.Claimed)
	if x.after != nil {
		delay = *x.after
	}
	if s.State, s.Delay = queue.Retrying, delay; !more {
		s.State, s.Delay = queue.Failed, 0
	}
	return s
}

// ended notes how an attempt ended.
func (c *came) ended(x act, states map[queue.Held]queue.State, now time.Time, e jobs.Ended) {
	state, current := states[x.held]
	if !current || x.verb == extend {
		c.lost, c.timedOut = true, current
		return
	}
	c.state = state
	if state == queue.Retrying || state == queue.Released {
		next := now.Add(e.Delay).UTC()
		c.next = &next
	}
	if state == queue.Released {
		c.state = queue.Pending
		if e.Delay > 0 {
			c.state = queue.Scheduled
		}
	}
}

// recall finds acts among the lost that were done before: the answer to them was lost,
// or another request did the same.
func recall(ctx context.Context, tx *sqlx.Tx, batch []act, out []came, rest []int) error {
	var lost []queue.Held
	for _, at := range rest {
		if out[at].lost && batch[at].verb != extend {
			lost = append(lost, batch[at].held)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	recorded, err := queue.Recorded(ctx, tx, lost)
	if err != nil {
		return err
	}
	for _, at := range rest {
		state, ended := recorded[batch[at].held]
		if !out[at].lost || !ended {
			continue
		}
		succeeded := state == queue.Succeeded
		if batch[at].verb == complete && succeeded || batch[at].verb == fail && !succeeded {
			out[at] = came{state: state, replayed: true}
		}
	}
	return nil
}
