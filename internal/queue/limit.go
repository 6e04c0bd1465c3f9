package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// wholeQueue is the lane that stands for all lanes of a queue.
const wholeQueue = ""

// lockRetry is how soon a lane is tried again whose limit another claim holds.
const lockRetry = 5 * time.Millisecond

// controlKey names a limit: the queue, which may be AnyQueue, and the lane.
type controlKey struct{ queue, lane string }

// allowance is what limits leave of a claim.
type allowance struct {
	limit int
	rates map[controlKey]rate // where claims are counted
}

// rate is the state of a generic cell rate algorithm: tat is the theoretical
// arrival time of the next claim that conforms (ITU-T I.371, annex A).
type rate struct {
	tat      time.Time
	emission time.Duration // between two claims at the full rate
	burst    int           // claims that may come at once
}

// room is how many claims conform at a time.
func (r rate) room(now time.Time) int {
	free := now.Add(time.Duration(r.burst) * r.emission).Sub(later(r.tat, now))
	return max(0, int(free/r.emission))
}

// next is when one claim will conform.
func (r rate) next() time.Time { return r.tat.Add(-time.Duration(r.burst-1) * r.emission) }

// spend is the state after n claims at a time.
func (r rate) spend(now time.Time, n int) time.Time {
	return later(r.tat, now).Add(time.Duration(n) * r.emission)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// allow lets the limits of the queue and of the picked lanes cut down a claim. The
// rows of the limits stay locked until its end, so that no two claims count the
// same free place, and what is counted is read by a statement that begins after
// the lock was got. Where nothing is limited nothing is asked.
func (c *Claimer) allow(ctx context.Context, tx *sqlx.Tx, picks []*pick, limit int) (allowance, error) {
	room := allowance{limit: limit, rates: map[controlKey]rate{}}
	keys := c.limitsOf(picks)
	if len(keys) == 0 {
		return room, nil
	}
	held, now, err := c.lockControls(ctx, tx, keys)
	if err != nil {
		return allowance{}, err
	}
	running, err := countRunning(ctx, tx, keys)
	if err != nil {
		return allowance{}, err
	}
	whole := controlKey{c.Queue, wholeQueue}
	if control, ok := held[whole]; ok {
		room.limit = min(limit, room.of(control, whole, running[whole], now))
		if room.limit == 0 {
			c.lanes.blocked = time.Now().Add(room.wait(whole, now))
			return room, nil
		}
	}
	for _, p := range picks {
		for _, key := range c.limitsOf([]*pick{p}) {
			if key == whole || p.take == 0 {
				continue
			}
			control, got := held[key]
			if !got { // another claim is at it, or the limit is gone
				p.take, p.lane.notBefore = 0, time.Now().Add(lockRetry)
				continue
			}
			c.restrict(p, &room, key, control, running[key], now)
		}
	}
	return room, nil
}

// restrict lets one limit cut down what is asked of a lane. Without room the lane is
// left alone until its time comes; where only the end of a job makes room, that end
// says so.
func (c *Claimer) restrict(p *pick, room *allowance, key controlKey, control Control, running int, now time.Time) {
	if p.take = min(p.take, room.of(control, key, running, now)); p.take > 0 {
		return
	}
	r, rated := room.rates[key]
	switch {
	case control.closed(now):
		p.lane.notBefore = time.Now().Add(control.ClosedUntil.Sub(now))
	case rated && r.room(now) == 0:
		p.lane.notBefore = time.Now().Add(r.next().Sub(now))
	default:
		c.lanes.leave(p.lane)
	}
}

// limitsOf gives the limits that a claim must mind: that of the queue, and those of
// the picked lanes here and in every queue.
func (c *Claimer) limitsOf(picks []*pick) (keys []controlKey) {
	if control, ok := c.controls[wholeQueue]; ok && control.limits() {
		keys = append(keys, controlKey{c.Queue, wholeQueue})
	}
	for _, p := range picks {
		if control, ok := c.controls[p.lane.name]; ok && control.limits() {
			keys = append(keys, controlKey{c.Queue, p.lane.name})
		}
		if control, ok := c.everywhere[p.lane.name]; ok && control.limits() {
			keys = append(keys, controlKey{AnyQueue, p.lane.name})
		}
	}
	return keys
}

// limited says whether something counts the running jobs of a lane.
func (c *Claimer) limited(lane string) bool {
	_, whole := c.controls[wholeQueue]
	_, own := c.controls[lane]
	_, everywhere := c.everywhere[lane]
	return whole || own || everywhere
}

// of is what one limit leaves, and notes the state of its rate. A lane that was closed
// has room for one job, which is to tell whether it may be opened.
func (a *allowance) of(c Control, key controlKey, running int, now time.Time) int {
	room := a.limit
	if c.MaxRunning != nil {
		room = min(room, max(0, *c.MaxRunning-running))
	}
	switch {
	case c.closed(now):
		room = 0
	case c.ClosedUntil != nil:
		room = min(room, max(0, 1-running))
	}
	if r, ok := c.rate(); ok {
		a.rates[key] = r
		room = min(room, r.room(now))
	}
	return room
}

// wait is how long a queue without room is left alone. Whoever frees a place says
// so; a rate frees places by itself.
func (a *allowance) wait(key controlKey, now time.Time) time.Duration {
	if r, ok := a.rates[key]; ok && r.room(now) == 0 {
		return r.next().Sub(now)
	}
	return time.Second
}

// lockControls locks the limits of a claim: that of the queue is waited for, as
// every claim needs it, those of lanes that another claim holds are passed over.
func (c *Claimer) lockControls(ctx context.Context, tx *sqlx.Tx, keys []controlKey) (map[controlKey]Control, time.Time, error) {
	var rows []Control
	if keys[0] == (controlKey{c.Queue, wholeQueue}) {
		if err := tx.SelectContext(ctx, &rows, `
			SELECT `+controlColumns+` FROM signalstack.controls WHERE queue = $1 AND lane = '' FOR UPDATE`, c.Queue); err != nil {
			return nil, time.Time{}, fmt.Errorf("lock limit of queue: %w", err)
		}
	}
	var of []Control
	queues, lanes := columnsOf(keys)
	if err := tx.SelectContext(ctx, &of, `
		SELECT `+controlColumns+` FROM signalstack.controls
		WHERE (queue, lane) IN (SELECT * FROM unnest($1::text[], $2::text[])) AND lane <> ''
		ORDER BY queue, lane FOR UPDATE SKIP LOCKED`, queues, lanes); err != nil {
		return nil, time.Time{}, fmt.Errorf("lock limits of lanes: %w", err)
	}
	held := map[controlKey]Control{}
	for _, control := range append(rows, of...) {
		held[controlKey{control.Queue, control.Lane}] = control
	}
	var now time.Time
	if err := tx.GetContext(ctx, &now, `SELECT clock_timestamp()`); err != nil {
		return nil, time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return held, now, nil
}

func columnsOf(keys []controlKey) (queues, lanes pq.StringArray) {
	for _, k := range keys {
		queues, lanes = append(queues, k.queue), append(lanes, k.lane)
	}
	return queues, lanes
}

// countRunning counts what the limits count: by the index running_limited in a queue,
// by running_limited_lane in all of them.
func countRunning(ctx context.Context, tx *sqlx.Tx, keys []controlKey) (map[controlKey]int, error) {
	var rows []struct {
		Queue string
		Lane  string
		N     int
	}
	queues, lanes := columnsOf(keys)
	err := tx.SelectContext(ctx, &rows, `
		SELECT k.queue, k.lane, CASE
		    WHEN k.lane = '' THEN (SELECT count(*) FROM signalstack.running AS r WHERE r.queue = k.queue AND r.limited)
		    WHEN k.queue = '' THEN (SELECT count(*) FROM signalstack.running AS r WHERE r.lane = k.lane AND r.limited)
		    ELSE (SELECT count(*) FROM signalstack.running AS r WHERE r.queue = k.queue AND r.lane = k.lane AND r.limited)
		END AS n
		FROM unnest($1::text[], $2::text[]) AS k (queue, lane)`, queues, lanes)
	if err != nil {
		return nil, fmt.Errorf("count running jobs: %w", err)
	}
	counts := map[controlKey]int{}
	for _, r := range rows {
		counts[controlKey{r.Queue, r.Lane}] = r.N
	}
	return counts, nil
}

// spend writes down what a claim took of its rates.
func (a *allowance) spend(ctx context.Context, tx *sqlx.Tx, jobs []Claimed) error {
	if len(a.rates) == 0 || len(jobs) == 0 {
		return nil
	}
	taken := map[string]int{wholeQueue: len(jobs)}
	for i := range jobs {
		taken[jobs[i].Lane]++
	}
	var queues, lanes, tats pq.StringArray
	for key, r := range a.rates {
		if n := taken[key.lane]; n > 0 {
			queues, lanes = append(queues, key.queue), append(lanes, key.lane)
			tats = append(tats, timeText(r.spend(jobs[0].StartedAt, n)))
		}
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE signalstack.controls AS c SET tat = t.tat
		FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS t (queue, lane, tat)
		WHERE c.queue = t.queue AND c.lane = t.lane`, queues, lanes, tats)
	if err != nil {
		return fmt.Errorf("note rates: %w", err)
	}
	return nil
}
