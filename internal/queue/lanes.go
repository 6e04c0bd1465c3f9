package queue

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// lanes is what a claimer knows of the lanes of its queue. Lanes that may have jobs
// stand in a ring and are served in turn.
type lanes struct {
	byName map[string]*lane
	ring   []*lane // that may have jobs, the next to be served first
	slack  time.Duration
	found  int // where the last search for lanes with missed jobs ended
	// blocked is until when the limit of the whole queue lets nothing be claimed.
	blocked time.Time
}

// lane is one of them.
type lane struct {
	name   string
	since  [LowestPriority]time.Time // by priority: jobs that were ready before it were seen to
	inRing bool
	weight int
	// notBefore is when its rate allows the next claim.
	notBefore time.Time
	idleSince time.Time // when it left the ring
}

// pick is a lane in a claim and how many of its jobs are asked for.
type pick struct {
	lane *lane
	take int
}

// Slots say how a worker wants its places given out.
type Slots struct {
	Spare int             // places for lanes that are not busy, where there are several
	Busy  map[string]bool // lanes of which something runs there
	// Room gives how many more jobs of a lane the worker takes; nil: any number. Of a
	// lane without room the claimer must Hear when it has some again.
	Room func(lane string) int
}

func (s Slots) room(lane string, most int) int {
	if s.Room == nil {
		return most
	}
	return max(0, min(most, s.Room(lane)))
}

func newLanes() lanes { return lanes{byName: map[string]*lane{}, slack: deafSlack} }

const (
	// maxPicks bounds the lanes of one claim.
	maxPicks = 200
	// heardSlack and deafSlack are how far before the last claimed job the next claim
	// starts. They cover transactions that were open while it read. Longer ones announce
	// themselves by notification; where none is heard they wait for the next full pass.
	// A second of slack is a second's dead rows to walk over while an old snapshot keeps
	// them: at 5,000 jobs/s it made claims take twice as long.
	heardSlack = 100 * time.Millisecond
	deafSlack  = time.Second
	// forgetAfter is how long a lane without jobs is remembered.
	forgetAfter = 10 * time.Minute
)

// wake puts a lane into the ring and makes its next claim start no later than at;
// the zero time leaves its position.
func (l *lanes) wake(name string, at time.Time) {
	l.blocked = time.Time{}
	found := l.byName[name]
	if found == nil {
		found = &lane{name: name, weight: 1}
		l.byName[name] = found
	}
	if !at.IsZero() {
		found.rewind(at)
	}
	if !found.inRing {
		found.inRing = true
		l.ring = append(l.ring, found)
	}
}

func (l *lane) rewind(at time.Time) {
	for i, since := range l.since {
		if at.Before(since) {
			l.since[i] = at
		}
	}
}

// wakeAll wakes every lane that is known: one of them has jobs.
func (l *lanes) wakeAll(at time.Time) {
	for name := range l.byName {
		l.wake(name, at)
	}
}

// forget forgets lanes that have long had nothing.
func (l *lanes) forget() {
	for name, lane := range l.byName {
		if !lane.inRing && time.Since(lane.idleSince) > forgetAfter {
			delete(l.byName, name)
		}
	}
}

func (l *lanes) setWeights(controls map[string]Control) {
	for name, lane := range l.byName {
		lane.weight = max(1, controls[name].Weight)
	}
	for name, c := range controls {
		if l.byName[name] == nil && name != wholeQueue {
			l.byName[name] = &lane{name: name, weight: max(1, c.Weight), idleSince: time.Now()}
		}
	}
}

// unblock lets lanes be tried again that a limit keeps from being served.
func (l *lanes) unblock() {
	l.blocked = time.Time{}
	for _, lane := range l.byName {
		lane.notBefore = time.Time{}
	}
}

// pick chooses the lanes of a claim in turn and shares the limit among them by
// weight. Every lane gets one job at least, while the limit lasts. The spare part of it
// is for the first job of lanes that are not busy: were it open to all that such a lane
// has, one that comes in a burst would take every place at once. A lane that may have no more slots of
// the worker leaves the ring until one of its jobs ends there.
func (l *lanes) pick(limit int, slots Slots) []*pick {
	var picks []*pick
	var full []*lane
	weights, now := 0, time.Now()
	for _, lane := range l.ring {
		if len(picks) == min(limit, maxPicks) {
			break
		}
		if lane.notBefore.After(now) || limit <= slots.Spare && slots.Busy[lane.name] {
			continue
		}
		room := slots.room(lane.name, limit)
		if room == 0 {
			full = append(full, lane)
			continue
		}
		picks = append(picks, &pick{lane: lane, take: room})
		weights += lane.weight
	}
	if len(full) > 0 {
		for _, lane := range full {
			l.leave(lane)
		}
		l.turn(nil)
	}
	spare := min(limit, slots.Spare)
	shared := limit - spare
	for _, p := range picks {
		share := min(p.take, max(1, (limit*p.lane.weight+weights-1)/weights))
		p.take = min(share, shared)
		shared -= p.take
		if p.take == 0 && spare > 0 && !slots.Busy[p.lane.name] {
			p.take, spare = 1, spare-1
		}
	}
	return picks
}

// served takes in what a claim of up to limit jobs gave at a time of the database:
// positions move on, lanes that have had their turn go to the end, and lanes that
// gave less than was asked have no more, which is as good a position. Where the limit ended the claim, the last lane that gave jobs may
// have more, and those after it were not reached.
func (l *lanes) served(picks []*pick, limit int, jobs []Claimed, now time.Time) {
	got := map[string]int{}
	for i := range jobs {
		j := &jobs[i]
		got[j.Lane]++
		if lane := l.byName[j.Lane]; lane != nil {
			lane.advance(j, l.slack)
		}
	}
	last := len(picks)
	if len(jobs) >= limit {
		for i, p := range picks {
			if got[p.lane.name] > 0 {
				last = i
			}
		}
	}
	turned := map[*lane]bool{}
	for i, p := range picks {
		if i > last || p.take == 0 {
			continue
		}
		turned[p.lane] = true
		if i < last && got[p.lane.name] < p.take {
			p.lane.passed(now.Add(-l.slack))
			l.leave(p.lane)
		}
	}
	l.turn(turned)
}

// leave takes a lane out of the ring until it is woken or found to have jobs.
func (l *lanes) leave(lane *lane) { lane.inRing, lane.idleSince = false, time.Now() }

// turn moves lanes that were served to the end of the ring, or out of it.
func (l *lanes) turn(turned map[*lane]bool) {
	rest, served := l.ring[:0:0], []*lane(nil)
	for _, lane := range l.ring {
		switch {
		case !lane.inRing:
		case turned[lane]:
			served = append(served, lane)
		default:
			rest = append(rest, lane)
		}
	}
	l.ring = append(rest, served...)
}

// passed moves all positions to a time up to which the lane was read to its end: what
// is found there later was not there to be seen, and is told of.
func (l *lane) passed(at time.Time) {
	for i, since := range l.since {
		if at.After(since) {
			l.since[i] = at
		}
	}
}

// advance moves a priority's position to a claimed job. Jobs before it that were
// skipped are in other hands; should those let go, the job comes back as one that
// is newly ready, or the next full pass finds it.
func (l *lane) advance(j *Claimed, slack time.Duration) {
	p := j.Priority - 1
	if at := j.ReadyAt.Add(-slack); at.After(l.since[p]) {
		l.since[p] = at
	}
}

// next is the time until a lane of the ring may be served: 0 is now, and a very
// long time means that there is none.
func (l *lanes) next(now time.Time) time.Duration {
	wait := time.Duration(math.MaxInt64)
	for _, lane := range l.ring {
		wait = min(wait, max(0, lane.notBefore.Sub(now)))
	}
	return max(wait, l.blocked.Sub(now))
}

const (
	// searched bounds how many known lanes one search looks into.
	searched = 1000
	// foundMost bounds how many lanes one search finds.
	foundMost = 1000
)

// findLanes finds lanes that have jobs although nobody told us: known ones from
// their positions, some of them in each search, and unknown ones in the gaps
// between the known, so that the dead rows of a known lane are not walked over.
func findLanes(ctx context.Context, q pg.Querier, queue string, l *lanes) ([]string, error) {
	idle, gapsLo, gapsHi := l.toSearch()
	names := make(pq.StringArray, len(idle))
	var since [LowestPriority]pq.StringArray
	for i, lane := range idle {
		names[i] = lane.name
		for at := range since {
			since[at] = append(since[at], positionText(lane.since[at]))
		}
	}
	var rows []struct {
		Lane *string // nil: none, for the time alone
		Now  time.Time
	}
	// Both halves go down the index ready_claim, once for each lane and priority and
	// once for each gap and each lane found in it.
	err := q.SelectContext(ctx, &rows, `
		WITH RECURSIVE gap AS (
		    SELECT (SELECT min(r.lane) FROM signalstack.ready AS r WHERE r.queue = $1 AND r.lane > g.lo AND r.lane < g.hi) AS lane, g.hi
		    FROM unnest($7::text[], $8::text[]) AS g (lo, hi)
		    UNION ALL
		    SELECT (SELECT min(r.lane) FROM signalstack.ready AS r WHERE r.queue = $1 AND r.lane > gap.lane AND r.lane < gap.hi), gap.hi
		    FROM gap WHERE gap.lane IS NOT NULL
		)
		SELECT k.lane, now() AS now
		FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[]) AS k (lane, since1, since2, since3, since4)
		WHERE EXISTS (SELECT FROM signalstack.ready AS r WHERE r.queue = $1 AND r.lane = k.lane AND r.priority = 1 AND r.ready_at >= k.since1)
		   OR EXISTS (SELECT FROM signalstack.ready AS r WHERE r.queue = $1 AND r.lane = k.lane AND r.priority = 2 AND r.ready_at >= k.since2)
		   OR EXISTS (SELECT FROM signalstack.ready AS r WHERE r.queue = $1 AND r.lane = k.lane AND r.priority = 3 AND r.ready_at >= k.since3)
		   OR EXISTS (SELECT FROM signalstack.ready AS r WHERE r.queue = $1 AND r.lane = k.lane AND r.priority = 4 AND r.ready_at >= k.since4)
		UNION ALL
		(SELECT lane, now() FROM gap WHERE lane IS NOT NULL LIMIT $9)
		UNION ALL
		SELECT NULL, now()`,
		queue, names, since[0], since[1], since[2], since[3], gapsLo, gapsHi, foundMost)
	if err != nil {
		return nil, fmt.Errorf("look for lanes of %s: %w", queue, err)
	}
	var found []string
	for _, r := range rows {
		if r.Lane != nil {
			found = append(found, *r.Lane)
		}
	}
	for _, lane := range idle {
		if !slices.Contains(found, lane.name) {
			lane.passed(rows[0].Now.Add(-l.slack))
		}
	}
	return found, nil
}

// findMissed finds jobs before the positions of known lanes, and makes the next
// claims start there. It reads from the start of each range of the index, and stops at
// the first job or at the position.
func findMissed(ctx context.Context, q pg.Querier, queue string, l *lanes) error {
	var names, since pq.StringArray
	var priorities pq.Int64Array
	for name, lane := range l.byName {
		for i, at := range lane.since {
			if !at.IsZero() {
				names, priorities, since = append(names, name), append(priorities, int64(i+1)), append(since, positionText(at))
			}
		}
	}
	var missed []struct {
		Lane string
		At   time.Time
	}
	err := q.SelectContext(ctx, &missed, `
		SELECT k.lane, min(r.ready_at) AS at
		FROM unnest($2::text[], $3::smallint[], $4::timestamptz[]) AS k (lane, priority, since)
		CROSS JOIN LATERAL (
		    SELECT r.ready_at FROM signalstack.ready AS r
		    WHERE r.queue = $1 AND r.lane = k.lane AND r.priority = k.priority AND r.ready_at < k.since
		    ORDER BY r.ready_at, r.job_id LIMIT 1
		) AS r
		GROUP BY k.lane`, queue, names, priorities, since)
	if err != nil {
		return fmt.Errorf("look for jobs left behind in %s: %w", queue, err)
	}
	for _, m := range missed {
		l.wake(m.Lane, m.At)
	}
	return nil
}

// The bounds of all names: tenants begin with a letter or a digit.
const (
	beforeAll = ""
	afterAll  = "~"
)

// toSearch gives the known lanes outside the ring that are next to be looked into,
// and the gaps between those and their neighbours.
func (l *lanes) toSearch() (idle []*lane, lo, hi pq.StringArray) {
	known := make([]string, 0, len(l.byName))
	for name := range l.byName {
		known = append(known, name)
	}
	slices.Sort(known)
	if l.found >= len(known) {
		l.found = 0
	}
	first, last := l.found, min(len(known), l.found+searched)
	l.found = last
	at := beforeAll
	if first > 0 {
		at = known[first-1]
	}
	for _, name := range known[first:last] {
		lo, hi, at = append(lo, at), append(hi, name), name
		if lane := l.byName[name]; !lane.inRing {
			idle = append(idle, lane)
		}
	}
	end := afterAll
	if last < len(known) {
		end = known[last]
	}
	return idle, append(lo, at), append(hi, end)
}
