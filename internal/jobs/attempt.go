package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// errTimeout ends an attempt that takes longer than its job may.
var errTimeout = errors.New("the attempt took longer than the job's timeout")

// ErrTimeout marks the error of an attempt that took longer than its kind lets it.
var ErrTimeout = errors.New("the attempt took too long")

// attempt runs a claimed job once, says how it ended, and settles it. It gives the next
// job of the ordering key where takeNext lets it, and there is one.
func (r *Runner) attempt(c *queue.Claimed, takeNext func(*queue.Claimed) bool, ended func(*queue.Claimed, queue.State, time.Duration)) *queue.Claimed {
	r.mu.Lock()
	f := r.flights[heldOf(c)]
	r.mu.Unlock()
	ctx := f.ctx
	defer r.land(c)

	kind, known := r.kinds.Get(c.Kind)
	if !known {
		r.log.WarnContext(ctx, "this binary does not know the kind of a job; leaving it for one that does", "job_id", c.ID, "kind", c.Kind)
		return r.settle(ctx, settlement{job: c, Settlement: queue.Settlement{State: queue.Released, Delay: unknownKindDelay}})
	}
	timed, stop := context.WithTimeoutCause(ctx, time.Duration(c.TimeoutMS)*time.Millisecond, errTimeout)
	defer stop()
	start, job := time.Now(), jobOf(c)
	job.flight = f
	var result Result
	err := r.before(timed, c, &job)
	if err == nil {
		result, err = runSafely(timed, kind, job)
	}
	s := settlement{job: c, luck: f.luck, db: r.db, Settlement: queue.Settlement{Duration: time.Since(start)}}
	return r.conclude(timed, kind, s, result, err, takeNext, ended)
}

// conclude stores what an attempt came to.
func (r *Runner) conclude(ctx context.Context, kind Kind, s settlement, result Result, err error,
	takeNext func(*queue.Claimed) bool, ended func(*queue.Claimed, queue.State, time.Duration),
) *queue.Claimed {
	c := s.job
	if err == nil {
		err = checkValue(result.Value)
	}
	s.judge(ctx, kind, err)
	if s.State == "" { // the lease is gone, and with it the right to an outcome
		r.drop(ctx, c)
		return nil
	}
	ended(c, s.State, s.Duration)
	s.setExchange(result.Exchange)
	s.Result = result.Value
	r.logAttempt(ctx, s)
	s.TakeNext = c.HasTurn() && takeNext(c)
	return r.settle(ctx, s)
}

// handBack returns a claimed job that was not begun.
func (r *Runner) handBack(c *queue.Claimed) *queue.Claimed {
	defer r.land(c)
	return r.settle(context.Background(), settlement{job: c, Settlement: queue.Settlement{State: queue.Released}})
}

// land ends the flight of a claim.
func (r *Runner) land(c *queue.Claimed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flights[heldOf(c)].cancel(nil)
	delete(r.flights, heldOf(c))
}

// unknownKindDelay is how long a job of an unknown kind is left alone.
const unknownKindDelay = 30 * time.Second

// panicError carries a panic and its stack.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", p.value, p.stack) }

func runSafely(ctx context.Context, kind Kind, job Job) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = Result{}, &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return kind.Run(ctx, job)
}

// Interrupted says whether the context of an attempt has ended for a reason that is not
// the attempt's: it was canceled, its lease was lost, or the worker stops.
func Interrupted(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, errLeaseLost) || errors.Is(cause, errCut) || errors.Is(cause, errCanceled)
}

// checkValue refuses a result that cannot be kept. Another attempt would do the work
// again and come to the same.
func checkValue(value json.RawMessage) error {
	switch {
	case len(value) > MaxResult:
		return Permanentf("the work is done, but its result has %d bytes and can have %d", len(value), MaxResult)
	case len(value) > 0 && !json.Valid(value):
		return Permanentf("the work is done, but its result is not JSON")
	}
	return nil
}

func jobOf(c *queue.Claimed) Job {
	job := Job{
		ID: c.ID, Tenant: c.Tenant, Kind: c.Kind, Queue: c.Queue, Attempt: c.Attempt, MaxAttempts: c.MaxAttempts,
		Timeout: time.Duration(c.TimeoutMS) * time.Millisecond, Payload: c.Payload, RuleID: c.RuleID, EndpointID: c.EndpointID, CreatedAt: c.CreatedAt,
	}
	if c.EventID.Valid && c.EventTime != nil {
		also := cloudevents.Attributes{
			ContentType: *c.EventContentType, DataSchema: *c.EventDataSchema, Extensions: json.RawMessage(*c.EventExtensions), Opaque: *c.EventOpaque,
		}
		job.Event = &Event{
			ID: c.EventID.UUID, Type: c.EventType, Source: *c.EventSource, Subject: *c.EventSubject, Time: *c.EventTime,
			Data: also.View(c.EventData), SenderID: *c.EventSenderID, CloudEvent: also,
		}
		if also.Opaque {
			job.Event.Opaque = c.EventData
		}
	}
	return job
}

// settlement is a queue.Settlement with the job it ends.
type settlement struct {
	queue.Settlement
	job  *queue.Claimed
	luck float64    // of the jitter, in [0, 1)
	db   pg.Querier // tells when the job was taken up; nil: it is as old as it is
}

// lived is the life of the job that its limits count from.
func (s *settlement) lived(ctx context.Context) life {
	if s.db == nil {
		return life{since: s.job.CreatedAt}
	}
	return lifeOf(ctx, s.db, s.job)
}

// judge decides what an attempt came to. State stays empty when the lease was
// lost.
func (s *settlement) judge(ctx context.Context, kind Kind, err error) {
	s.JobID, s.Lease = s.job.ID, s.job.Lease
	cause := context.Cause(ctx)
	panicked, isPanic := errors.AsType[*panicError](err)
	switch {
	case err == nil:
		s.State, s.Outcome = queue.Succeeded, queue.OutcomeSucceeded
		return
	case errors.Is(cause, errLeaseLost):
		return
	case errors.Is(cause, errCut):
		s.State = queue.Released
		return
	case errors.Is(cause, errCanceled):
		s.State, s.Outcome, s.Error = queue.Canceled, queue.OutcomeCanceled, errorText(err.Error())
		return
	case isSnooze(err):
		s.State, s.Delay = queue.Released, AskedDelay(err)
		return
	case IsPermanent(err):
		s.State, s.Outcome, s.Error = queue.Failed, queue.OutcomePermanent, errorText(err.Error())
		return
	case isPanic:
		s.Outcome, s.Error = queue.OutcomePanic, errorText(panicked.Error())
	case errors.Is(cause, errTimeout):
		s.Outcome, s.Error = queue.OutcomeTimeout, errorText(errTimeout.Error()+": "+err.Error())
	case errors.Is(err, ErrTimeout):
		s.Outcome, s.Error = queue.OutcomeTimeout, errorText(err.Error())
	case isThrottled(err) && s.sparedBefore(ctx) < MaxSpared:
		s.State, s.Outcome, s.Error, s.Delay = queue.Retrying, queue.OutcomeThrottled, errorText(err.Error()), AskedDelay(err)
		return
	default:
		s.Outcome, s.Error = queue.OutcomeError, errorText(err.Error())
	}
	policy, attempts, age := s.policy(kind, err)
	s.Delay = max(policy.Next(s.job.Attempt, s.luck), AskedDelay(err))
	if s.State = queue.Retrying; s.job.Attempt >= attempts || s.tooOld(ctx, age) {
		s.State, s.Delay = queue.Failed, 0
	}
}

// policy gives what decides about the next attempt: a job with a retry policy of its
// own goes by itself, another by whoever it is delivered to, and both else by the kind.
func (s *settlement) policy(kind Kind, err error) (policy Policy, attempts int, age time.Duration) {
	policy, attempts = policyOf(s.job, kind), s.job.MaxAttempts
	override := overrideOf(err)
	if s.job.Retry != "" {
		return policy, attempts, 0
	}
	if override.Retry != nil {
		policy = *override.Retry
	}
	if override.MaxAttempts > 0 && attempts == kind.MaxAttempts {
		attempts = override.MaxAttempts
	}
	return policy, attempts, override.MaxAge
}

// tooOld says whether the next attempt would come when the job is older than it may
// become; 0 is any age. A job that was taken up again is as old as that is ago. Both
// times are the database's.
func (s *settlement) tooOld(ctx context.Context, age time.Duration) bool {
	next := s.job.StartedAt.Add(s.Duration + s.Delay)
	return age > 0 && next.Sub(s.job.CreatedAt) > age && next.Sub(s.lived(ctx).since) > age
}

// sparedBefore is how many claims of the job came to nothing without counting.
func (s *settlement) sparedBefore(ctx context.Context) int64 {
	n := s.job.Lease - int64(s.job.Attempt)
	if n >= MaxSpared {
		n -= s.lived(ctx).lease
	}
	return n
}

// policyOf is the job's own retry policy or its kind's.
func policyOf(c *queue.Claimed, kind Kind) Policy {
	if c.Retry == "" {
		return kind.Retry
	}
	var p Policy
	if err := json.Unmarshal([]byte(c.Retry), &p); err != nil {
		return kind.Retry
	}
	return p
}

// maxErrorText bounds the error kept with an attempt, in bytes.
const maxErrorText = 8 << 10

// errorText makes an error fit for a text column.
func errorText(s string) string { return ErrorText(s, maxErrorText) }

// ErrorText makes a text fit for a column: at most so many bytes, UTF-8 and without NUL.
func ErrorText(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func (s *settlement) setExchange(e *Exchange) {
	if e == nil || s.State == queue.Released {
		return
	}
	if b, err := json.Marshal(e); err == nil {
		s.Exchange, s.Status, s.ErrorClass = b, e.Status, e.ErrorClass
	}
}

func (r *Runner) logAttempt(ctx context.Context, s settlement) {
	if s.State == queue.Succeeded && !r.log.Enabled(ctx, slog.LevelDebug) {
		return // most attempts, and nothing to say of them
	}
	args := []any{
		"job_id", s.JobID, "kind", s.job.Kind, "attempt", s.job.Attempt, "state", s.State,
		"outcome", s.Outcome, "duration_ms", s.Duration.Milliseconds(),
	}
	if s.job.EventID.Valid {
		args = append(args, "event_id", s.job.EventID.UUID)
	}
	switch s.State {
	case queue.Failed:
		r.log.WarnContext(ctx, "job failed", append(args, "error", s.Error)...)
	case queue.Retrying:
		r.log.InfoContext(ctx, "attempt failed", append(args, "error", s.Error, "retry_in", s.Delay.String())...)
	default:
		r.log.DebugContext(ctx, "attempt ended", args...)
	}
}

func (r *Runner) drop(ctx context.Context, c *queue.Claimed) {
	r.stale.Add(1)
	r.log.WarnContext(ctx, "outcome dropped: the lease was lost", "job_id", c.ID, "kind", c.Kind, "attempt", c.Attempt)
}

// settled is what a settlement came to.
type settled struct {
	current bool           // its lease still held
	next    *queue.Claimed // of its ordering key
}

// settle waits until the outcome is durable. The flight is kept until then, so
// its lease is extended through an outage of the database.
func (r *Runner) settle(ctx context.Context, s settlement) *queue.Claimed {
	s.JobID, s.Lease, s.Tenant, s.OrderingKey, s.Skips = s.job.ID, s.job.Lease, s.job.Tenant, s.job.OrderingKey, s.job.Skips
	group := r.settler
	if s.TakeNext {
		group = r.taker
	}
	came, err := group.Do(context.WithoutCancel(ctx), s)
	switch {
	case err != nil:
		r.log.ErrorContext(ctx, "outcome could not be stored; the job will run again", "job_id", s.JobID, "kind", s.job.Kind, "error", err)
	case !came.current:
		r.drop(ctx, s.job)
	}
	return came.next
}

// commitSettlements stores a batch of outcomes and counts them, in one
// transaction. It waits out an absent database for as long as the worker lives.
func (r *Runner) commitSettlements(ctx context.Context, batch []settlement) []pg.Outcome[settled] {
	// In the order of the ids, so that two transactions lock rows the same way.
	sorted := slices.SortedStableFunc(slices.Values(batch), func(a, b settlement) int { return bytes.Compare(a.JobID[:], b.JobID[:]) })
	states, taken, err := r.storeUntilDone(ctx, sorted)
	if err != nil && pg.IsBadData(err) && len(batch) > 1 {
		return r.commitOneByOne(ctx, batch)
	}
	return outcomesOf(batch, states, taken, err)
}

// commitOneByOne keeps an outcome that the database refuses from sinking others.
func (r *Runner) commitOneByOne(ctx context.Context, batch []settlement) []pg.Outcome[settled] {
	outcomes := make([]pg.Outcome[settled], 0, len(batch))
	for _, s := range batch {
		states, taken, err := r.storeUntilDone(ctx, []settlement{s})
		outcomes = append(outcomes, outcomesOf([]settlement{s}, states, taken, err)...)
	}
	return outcomes
}

// outcomesOf says of each settlement whether its lease still held, and hands it the
// job that was taken for it. No two of a batch have the turn of one ordering key.
func outcomesOf(batch []settlement, states map[queue.Held]queue.State, taken []queue.Claimed, err error) []pg.Outcome[settled] {
	type key struct{ tenant, name string }
	next := make(map[key]*queue.Claimed, len(taken))
	for i := range taken {
		next[key{taken[i].Tenant, taken[i].OrderingKey}] = &taken[i]
	}
	outcomes := make([]pg.Outcome[settled], len(batch))
	for i, s := range batch {
		came := settled{}
		if _, came.current = states[heldOf(s.job)]; came.current && s.TakeNext {
			came.next = next[key{s.Tenant, s.OrderingKey}]
		}
		outcomes[i] = pg.Outcome[settled]{Value: came, Err: err}
	}
	return outcomes
}

func (r *Runner) storeUntilDone(ctx context.Context, batch []settlement) (map[queue.Held]queue.State, []queue.Claimed, error) {
	for failures := 0; ; {
		states, taken, err := r.store(ctx, batch, failures > 0)
		if err == nil || !pg.IsAway(err) {
			return states, taken, err
		}
		if failures++; failures == 1 {
			r.log.WarnContext(ctx, "outcomes wait for the database", "jobs", len(batch), "error", err)
		}
		select {
		case <-time.After(outageWait(failures)):
		case <-r.cfg.Cut:
			return nil, nil, err
		case <-r.abandon:
			return nil, nil, err
		}
	}
}

// store settles a batch. After a try whose answer was lost, claims that are not
// ours any more may have been ended by that very try: their record tells. What that
// try took is not known and is released as an orphan.
func (r *Runner) store(ctx context.Context, batch []settlement, again bool) (states map[queue.Held]queue.State, taken []queue.Claimed, err error) {
	takes := slices.ContainsFunc(batch, func(s settlement) bool { return s.TakeNext })
	if takes {
		r.taking.RLock()
		defer r.taking.RUnlock()
	}
	asked := time.Now()
	rows := make([]queue.Settlement, len(batch))
	for i, s := range batch {
		rows[i] = s.Settlement
	}
	err = pg.InSteadyTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if states, taken, err = queue.SettleAndTake(ctx, tx, rows, r.worker, r.cfg.Lease); err != nil {
			return err
		}
		if err := r.kinds.account(ctx, tx, batch, states); err != nil {
			return err
		}
		if again && len(states) < len(batch) {
			return addRecorded(ctx, tx, batch, states)
		}
		return nil
	})
	if err != nil {
		if takes {
			r.expectOrphans()
		}
		return states, nil, err
	}
	r.takeOff(taken, asked)
	return states, taken, nil
}

// account counts what was settled in the transaction and tells the kinds.
func (r *Registry) account(ctx context.Context, tx *sqlx.Tx, batch []settlement, states map[queue.Held]queue.State) error {
	if err := analytics.Record(ctx, tx, deltas(batch, states)); err != nil {
		return err
	}
	return r.tellFailed(ctx, tx, batch, states)
}

// tellFailed lets the kinds know which of their jobs are given up on.
func (r *Registry) tellFailed(ctx context.Context, tx *sqlx.Tx, batch []settlement, states map[queue.Held]queue.State) error {
	for _, s := range batch {
		if states[heldOf(s.job)] != queue.Failed {
			continue
		}
		if kind, ok := r.Get(s.job.Kind); ok && kind.Failed != nil {
			if err := kind.Failed(ctx, tx, jobOf(s.job), s.Error); err != nil {
				return err
			}
		}
	}
	return nil
}

func addRecorded(ctx context.Context, tx *sqlx.Tx, batch []settlement, states map[queue.Held]queue.State) error {
	var unknown []queue.Held
	for _, s := range batch {
		if _, ok := states[heldOf(s.job)]; !ok {
			unknown = append(unknown, heldOf(s.job))
		}
	}
	recorded, err := queue.Recorded(ctx, tx, unknown)
	maps.Copy(states, recorded)
	return err
}

// deltas counts the attempts that were made and the jobs that ended.
func deltas(batch []settlement, states map[queue.Held]queue.State) []analytics.Delta {
	all := make([]analytics.Delta, 0, 2*len(batch))
	for _, s := range batch {
		state, current := states[heldOf(s.job)]
		if !current || state == queue.Released {
			continue
		}
		d := analytics.Delta{
			Fact: analytics.AttemptEnded, Tenant: s.job.Tenant, Outcome: s.Outcome, Kind: s.job.Kind, Queue: s.job.Queue,
			Type: s.job.EventType, EndpointID: s.job.EndpointID.UUID, Duration: s.Duration, Timed: true,
		}
		if state != s.State { // somebody wanted it canceled
			d.Outcome = queue.OutcomeCanceled
		}
		all = append(all, d)
		if state.Final() {
			d.Fact, d.Outcome = analytics.JobEnded, string(state)
			all = append(all, d)
		}
	}
	return all
}
