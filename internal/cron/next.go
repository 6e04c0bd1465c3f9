package cron

import (
	"math/bits"
	"time"
)

// Times of a clock on the wall are kept as if the wall stood in UTC, so that they can
// be calculated with: no zone changes under them.

// Next gives the first time after a time at which the expression fires in a zone.
// Expressions that were parsed fire for ever; false is for times beyond all calendars.
func (e *Expression) Next(after time.Time, zone *time.Location) (time.Time, bool) {
	after = after.Truncate(time.Second)
	if e.everyHour {
		return e.nextShown(after, zone)
	}
	wall, ok := e.nextWall(reached(after, zone))
	if !ok {
		return time.Time{}, false
	}
	return firstAt(wall, zone), true
}

// nextShown gives the next time at which the clock shows what matches, however often
// it has shown it before.
func (e *Expression) nextShown(after time.Time, zone *time.Location) (time.Time, bool) {
	for t := after.Add(time.Second); ; {
		local := t.In(zone)
		wall, ok := e.nextWall(wallOf(local).Add(-time.Second))
		if !ok {
			return time.Time{}, false
		}
		at := wall.Add(-offset(local))
		_, end := local.ZoneBounds()
		if end.IsZero() || at.Before(end) {
			return at, true
		}
		t = end
	}
}

// longestShift is longer than any change of a zone, of which those over the date line
// are the longest.
const longestShift = 26 * time.Hour

// reached gives the latest time that the clock has shown up to a time. After the clock
// was put back that is more than it shows.
func reached(t time.Time, zone *time.Location) time.Time {
	local := t.In(zone)
	latest := wallOf(local)
	for {
		start, _ := local.ZoneBounds()
		if start.IsZero() || t.Sub(start) > longestShift {
			return latest
		}
		local = start.Add(-time.Second).In(zone)
		if wall := wallOf(local); wall.After(latest) {
			latest = wall
		}
	}
}

// firstAt gives the first time at which the clock shows this time or a later one.
func firstAt(wall time.Time, zone *time.Location) time.Time {
	local := wall.Add(-longestShift).In(zone) // the clock shows less
	for {
		at := wall.Add(-offset(local))
		if at.Before(local) {
			at = local.UTC() // it was passed over
		}
		_, end := local.ZoneBounds()
		if end.IsZero() || at.Before(end) {
			return at
		}
		local = end.In(zone)
	}
}

// wallOf gives what the clock shows.
func wallOf(local time.Time) time.Time { return local.UTC().Add(offset(local)) }

func offset(local time.Time) time.Duration {
	_, seconds := local.Zone()
	return time.Duration(seconds) * time.Second
}

// searchYears is longer than any day of an expression takes to come again: 29 February
// on a given day of the week takes up to 40 years.
const searchYears = 50

// nextWall gives the first time after a time of the clock that matches.
func (e *Expression) nextWall(after time.Time) (time.Time, bool) {
	t := after.Add(time.Second)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	for last := year + searchYears; year <= last; {
		if e.months>>month&1 == 0 {
			month, day, hour, minute, second = month+1, 1, 0, 0, 0
		} else {
			if at := time.Date(year, month, day, 0, 0, 0, 0, time.UTC); e.matchesDay(at) {
				if clock, ok := e.nextClock(hour, minute, second); ok {
					return at.Add(clock), true
				}
			}
			day, hour, minute, second = day+1, 0, 0, 0
			if day > 28 && time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Month() != month {
				month, day = month+1, 1
			}
		}
		if month > time.December {
			year, month = year+1, time.January
		}
	}
	return time.Time{}, false
}

func (e *Expression) matchesDay(day time.Time) bool {
	ofMonth, ofWeek := e.days>>day.Day()&1 == 1, e.weekdays>>day.Weekday()&1 == 1
	if e.eitherDay {
		return ofMonth || ofWeek
	}
	return ofMonth && ofWeek
}

// nextClock gives the first time of a day from a time on that matches.
func (e *Expression) nextClock(hour, minute, second int) (time.Duration, bool) {
	s, ok := nextOf(e.seconds, second)
	if !ok {
		minute++
	}
	m, ok := nextOf(e.minutes, minute)
	if !ok {
		hour++
	}
	h, ok := nextOf(e.hours, hour)
	switch {
	case !ok:
		return 0, false
	case h > hour || m < minute:
		m, s = bits.TrailingZeros64(e.minutes), bits.TrailingZeros64(e.seconds)
	case m > minute || s < second:
		s = bits.TrailingZeros64(e.seconds)
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second, true
}

// nextOf gives the first member of a set from a number on, or the first of all and
// false.
func nextOf(set uint64, from int) (int, bool) {
	if rest := set >> from << from; rest != 0 {
		return bits.TrailingZeros64(rest), true
	}
	return bits.TrailingZeros64(set), false
}
