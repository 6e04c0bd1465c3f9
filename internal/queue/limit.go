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

// allowance is what limits leave of a claim.
type allowance struct {
	limit int
	rates map[string]rate // by lane, where claims are counted
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
	room := allowance{limit: limit, rates: map[string]rate{}}
	whole, names := c.limitedOf(picks)
	if !whole && len(names) == 0 {
		return room, nil
	}
	held, now, err := c.lockControls(ctx, tx, whole, names)
	if err != nil {
		return allowance{}, err
	}
	running, err := c.countRunning(ctx, tx, whole, names)
	if err != nil {
		return allowance{}, err
	}
	if control, ok := held[wholeQueue]; ok {
		room.limit = min(limit, room.of(control, wholeQueue, running[wholeQueue], now))
		if room.limit == 0 {
			c.lanes.blocked = time.Now().Add(room.wait(wholeQueue, now))
			return room, nil
		}
	}
	for _, p := range picks {
		control, limited := c.controls[p.lane.name]
		if !limited || !control.limits() {
			continue
		}
		control, got := held[p.lane.name]
		if !got { // another claim is at it, or the limit is gone
			p.take, p.lane.notBefore = 0, time.Now().Add(lockRetry)
			continue
		}
		if p.take = min(p.take, room.of(control, p.lane.name, running[p.lane.name], now)); p.take > 0 {
			continue
		}
		if r, rated := room.rates[p.lane.name]; rated && r.room(now) == 0 {
			p.lane.notBefore = time.Now().Add(r.next().Sub(now))
			continue
		}
		c.lanes.leave(p.lane) // whoever frees a place says so
	}
	return room, nil
}

// limitedOf says whether the queue has a limit, and gives the picked lanes that do.
func (c *Claimer) limitedOf(picks []*pick) (whole bool, names pq.StringArray) {
	for _, p := range picks {
		if control, ok := c.controls[p.lane.name]; ok && control.limits() {
			names = append(names, p.lane.name)
		}
	}
	control, ok := c.controls[wholeQueue]
	return ok && control.limits(), names
}

// of is what one limit leaves, and notes the state of its rate.
func (a *allowance) of(c Control, lane string, running int, now time.Time) int {
	room := a.limit
	if c.MaxRunning != nil {
		room = min(room, max(0, *c.MaxRunning-running))
	}
	if r, ok := c.rate(); ok {
		a.rates[lane] = r
		room = min(room, r.room(now))
	}
	return room
}

// wait is how long a queue without room is left alone. Whoever frees a place says
// so; a rate frees places by itself.
func (a *allowance) wait(lane string, now time.Time) time.Duration {
	if r, ok := a.rates[lane]; ok && r.room(now) == 0 {
		return r.next().Sub(now)
	}
	return time.Second
}

// lockControls locks the limits of a claim: that of the queue is waited for, as
// every claim needs it, those of lanes that another claim holds are passed over.
func (c *Claimer) lockControls(ctx context.Context, tx *sqlx.Tx, whole bool, names pq.StringArray) (map[string]Control, time.Time, error) {
	var rows []Control
	if whole {
		if err := tx.SelectContext(ctx, &rows, `
			SELECT `+controlColumns+` FROM signalstack.controls WHERE queue = $1 AND lane = '' FOR UPDATE`, c.Queue); err != nil {
			return nil, time.Time{}, fmt.Errorf("lock limit of queue: %w", err)
		}
	}
	var of []Control
	if err := tx.SelectContext(ctx, &of, `
		SELECT `+controlColumns+` FROM signalstack.controls WHERE queue = $1 AND lane = ANY ($2::text[])
		ORDER BY lane FOR UPDATE SKIP LOCKED`, c.Queue, names); err != nil {
		return nil, time.Time{}, fmt.Errorf("lock limits of lanes: %w", err)
	}
	held := map[string]Control{}
	for _, control := range append(rows, of...) {
		held[control.Lane] = control
	}
	var now time.Time
	if err := tx.GetContext(ctx, &now, `SELECT clock_timestamp()`); err != nil {
		return nil, time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return held, now, nil
}

// countRunning counts by the index running_limited what the limits count.
func (c *Claimer) countRunning(ctx context.Context, tx *sqlx.Tx, whole bool, names pq.StringArray) (map[string]int, error) {
	var rows []struct {
		Lane string
		N    int
	}
	err := tx.SelectContext(ctx, &rows, `
		SELECT l.lane, (SELECT count(*) FROM signalstack.running AS r WHERE r.queue = $1 AND r.lane = l.lane AND r.limited) AS n
		FROM unnest($2::text[]) AS l (lane)
		UNION ALL
		SELECT '', count(*) FROM signalstack.running AS r WHERE $3 AND r.queue = $1 AND r.limited`, c.Queue, names, whole)
	if err != nil {
		return nil, fmt.Errorf("count running jobs: %w", err)
	}
	counts := map[string]int{}
	for _, r := range rows {
		counts[r.Lane] = r.N
	}
	return counts, nil
}

// spend writes down what a claim took of its rates.
func (a *allowance) spend(ctx context.Context, tx *sqlx.Tx, queue string, jobs []Claimed) error {
	if len(a.rates) == 0 || len(jobs) == 0 {
		return nil
	}
	taken := map[string]int{wholeQueue: len(jobs)}
	for i := range jobs {
		taken[jobs[i].Lane]++
	}
	var lanes, tats pq.StringArray
	for lane, r := range a.rates {
		if n := taken[lane]; n > 0 {
			lanes, tats = append(lanes, lane), append(tats, timeText(r.spend(jobs[0].StartedAt, n)))
		}
	}
	_, err := tx.ExecContext(ctx, `
		UPDATE signalstack.controls AS c SET tat = t.tat
		FROM unnest($2::text[], $3::timestamptz[]) AS t (lane, tat)
		WHERE c.queue = $1 AND c.lane = t.lane`, queue, lanes, tats)
	if err != nil {
		return fmt.Errorf("note rates: %w", err)
	}
	return nil
}
