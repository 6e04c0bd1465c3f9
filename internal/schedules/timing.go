package schedules

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/cron"
	"github.com/signalstack/signalstack/internal/fault"
)

// timing is a compiled spec.
type timing struct {
	cron       *cron.Expression
	every      time.Duration
	at         time.Time
	anchor     time.Time
	zone       *time.Location
	start, end time.Time
	jitter     time.Duration

	policy    string
	window    time.Duration
	most      int
	overlap   string
	maxQueued int
}

// everyPrefix is how an interval is written as an expression.
const everyPrefix = "@every "

// timing compiles when a schedule fires.
func (c *compiler) timing(s Timing, anchor time.Time) *timing {
	t := &timing{zone: time.UTC, anchor: anchor.UTC()}
	if s.Start != "" {
		t.start = c.time("/start", s.Start)
		t.anchor = t.start
	}
	if s.End != "" {
		if t.end = c.time("/end", s.End); t.end.Before(t.start) {
			c.add("/end", "must not be before start")
		}
	}
	if s.Timezone != "" {
		c.zone(t, s.Timezone)
	}
	said := 0
	for _, f := range []struct{ pointer, text string }{{"/cron", s.Cron}, {"/every", s.Every}, {"/at", s.At}} {
		if f.text == "" {
			continue
		}
		if said++; said > 1 {
			c.add(f.pointer, "must not stand beside another one of cron, every and at; send one of them")
			continue
		}
		switch f.pointer {
		case "/cron":
			c.cron(t, s.Cron)
		case "/every":
			t.every = c.duration("/every", s.Every, shortest, longest)
		default:
			t.at = c.time("/at", s.At)
		}
	}
	if said == 0 {
		c.add("/cron", "is required, or every or at in its place")
	}
	return t
}

func (c *compiler) zone(t *timing, name string) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		c.add("/timezone", "is no zone of the IANA database, such as Europe/Berlin or UTC")
		return
	}
	t.zone = zone
}

func (c *compiler) cron(t *timing, text string) {
	if len(text) > len(everyPrefix) && strings.EqualFold(text[:len(everyPrefix)], everyPrefix) {
		t.every = c.duration("/cron", strings.TrimSpace(text[len(everyPrefix):]), shortest, longest)
		return
	}
	var err error
	t.cron, err = cron.Parse(text)
	if wrong, ok := errors.AsType[*cron.Error](err); ok {
		c.add("/cron", "%s", wrong)
	} else if err != nil {
		c.add("/cron", "%s", err)
	}
}

// next gives the first fire after a time.
func (t *timing) next(after time.Time) (time.Time, bool) {
	if before := t.start.Add(-time.Microsecond); !t.start.IsZero() && after.Before(before) {
		after = before
	}
	var at time.Time
	ok := true
	switch {
	case t.cron != nil:
		at, ok = t.cron.Next(after, t.zone)
	case t.every > 0:
		at = t.anchor
		if !after.Before(t.anchor) {
			at = t.anchor.Add((after.Sub(t.anchor)/t.every + 1) * t.every)
		}
	default:
		at, ok = t.at, t.at.After(after)
	}
	if !ok || !t.end.IsZero() && at.After(t.end) {
		return time.Time{}, false
	}
	return at.UTC(), true
}

// nextFires gives up to n fires after a time.
func (t *timing) nextFires(after time.Time, n int) []FireTime {
	all := []FireTime{}
	for len(all) < n {
		at, ok := t.next(after)
		if !ok {
			break
		}
		all = append(all, FireTime{At: at, Local: at.In(t.zone).Format(time.RFC3339Nano)})
		after = at
	}
	return all
}

// last gives the last fire up to a time, where from is one. It halves the way that is
// left with each step, however many fires lie on it.
func (t *timing) last(from, upTo time.Time) time.Time {
	best, high := from, upTo
	for {
		at, ok := t.next(best)
		if !ok || at.After(upTo) {
			return best
		}
		best = at
		middle := best.Add(high.Sub(best) / 2)
		if at, ok = t.next(middle); ok && !at.After(upTo) {
			best = at
		} else {
			high = middle
		}
	}
}

// mostCounted bounds how many missed fires are counted one by one.
const mostCounted = 10_000

// count gives how many fires lie between two, with both.
func (t *timing) count(first, last time.Time) (n int64, exact bool) {
	if t.every > 0 {
		return int64(last.Sub(first)/t.every) + 1, true
	}
	for n = 1; first.Before(last); n++ {
		if n == mostCounted {
			return n, false
		}
		first, _ = t.next(first)
	}
	return n, true
}

// due gives when a fire is made: its time and a part of the jitter that every process
// finds alike.
func (t *timing) due(id uuid.UUID, at time.Time) time.Time {
	if t.jitter <= 0 {
		return at
	}
	var b [24]byte
	copy(b[:], id[:])
	binary.BigEndian.PutUint64(b[16:], uint64(at.UnixMicro()))
	sum := sha256.Sum256(b[:])
	part := binary.BigEndian.Uint64(sum[:]) % uint64(t.jitter/time.Microsecond)
	return at.Add(time.Duration(part) * time.Microsecond) //nolint:gosec // it is less than the jitter
}

// checkFires gives the mistakes of a schedule that would never fire, or not as it says.
func (t *timing) checkFires(now time.Time) []fault.Detail {
	fires := t.nextFires(now, 20)
	if len(fires) == 0 {
		switch {
		case !t.at.IsZero() && !t.at.After(now):
			return []fault.Detail{{Pointer: "/at", Detail: "is over, so that the schedule would never fire"}}
		case !t.end.IsZero() && !t.end.After(now):
			return []fault.Detail{{Pointer: "/end", Detail: "is over, so that the schedule would never fire"}}
		case !t.at.IsZero() && t.at.Before(t.start):
			return []fault.Detail{{Pointer: "/at", Detail: "is before start, so that the schedule would never fire"}}
		}
		return []fault.Detail{{Pointer: "/end", Detail: "is before the first fire, so that the schedule would never fire"}}
	}
	for i := 1; i < len(fires) && t.jitter > 0; i++ {
		if gap := fires[i].At.Sub(fires[i-1].At); gap < t.jitter {
			return []fault.Detail{{Pointer: "/jitter", Detail: fmt.Sprintf("must be at most the time between two fires, here %s", gap)}}
		}
	}
	return nil
}

// grace is how late a fire may be made and count as in time.
const grace = 15 * time.Second

// plan is what is to be done about a schedule.
type plan struct {
	fires  []time.Time
	missed *Misfires
	next   *time.Time
}

// plan says which fires to make, the oldest of those not made being next. Its work is
// bounded, however long ago that is.
func (t *timing) plan(id uuid.UUID, next, now time.Time) plan {
	var p plan
	if now.Sub(t.due(id, next)) > grace {
		return t.planMissed(id, next, now)
	}
	at, ok := next, true
	for ok && !t.due(id, at).After(now) {
		p.fires = append(p.fires, at)
		at, ok = t.next(at)
	}
	if ok {
		p.next = &at
	}
	return p
}

// planMissed applies the misfire policy to all fires from first to now.
func (t *timing) planMissed(id uuid.UUID, first, now time.Time) plan {
	var p plan
	last := t.last(first, now)
	if t.due(id, last).After(now) { // its jitter puts it off; it is no misfire
		p.next = &last
		last = t.last(first, last.Add(-time.Microsecond))
	} else if at, ok := t.next(last); ok {
		p.next = &at
	}
	switch t.policy {
	case misfireLatest:
		p.fires = []time.Time{last}
	case misfireAll:
		for at := last; len(p.fires) < t.most && now.Sub(t.due(id, at)) <= t.window; at = t.last(first, at.Add(-time.Microsecond)) {
			p.fires = append([]time.Time{at}, p.fires...)
			if !at.After(first) {
				break
			}
		}
	}
	p.missed = &Misfires{From: first, To: last, Made: len(p.fires), Policy: t.policy}
	p.missed.Count, p.missed.Exact = t.count(first, last)
	return p
}
