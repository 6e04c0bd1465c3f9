package analytics

import "time"

// Bucket is a step of time in a zone.
type Bucket string

// The buckets. A week begins on Monday.
const (
	Minute Bucket = "minute"
	Hour   Bucket = "hour"
	Day    Bucket = "day"
	Week   Bucket = "week"
)

// calendar divides time into buckets of a zone.
type calendar struct {
	bucket Bucket
	zone   *time.Location
}

// start gives the beginning of the bucket that t is in.
func (c calendar) start(t time.Time) time.Time {
	t = t.In(c.zone)
	switch c.bucket {
	case Hour:
		return hourStart(t)
	case Day:
		return dayStart(t, 0)
	case Week:
		return dayStart(t, -sinceMonday(t))
	default:
		return t.Truncate(time.Minute)
	}
}

// next gives the end of the bucket that begins at start, which is the beginning
// of the next one.
func (c calendar) next(start time.Time) time.Time {
	start = start.In(c.zone)
	switch c.bucket {
	case Hour:
		return hourEnd(start)
	case Day:
		// A day that a zone skipped begins and ends at once; it is no bucket.
		for days := 1; ; days++ {
			if end := dayStart(start, days); end.After(start) {
				return end
			}
		}
	case Week:
		return dayStart(start, 7-sinceMonday(start))
	default:
		return start.Add(time.Minute)
	}
}

// bounds gives the beginnings of all buckets that have a part of from to to, and
// the end of the last one; at most limit buckets, and false when there are more.
func (c calendar) bounds(from, to time.Time, limit int) ([]time.Time, bool) {
	bounds := []time.Time{c.start(from)}
	for {
		last := bounds[len(bounds)-1]
		if !last.Before(to) {
			return bounds, true
		}
		if len(bounds) > limit {
			return nil, false
		}
		bounds = append(bounds, c.next(last))
	}
}

func sinceMonday(t time.Time) int { return (int(t.Weekday()) + 6) % 7 }

// dayStart gives the first moment of t's day in t's zone, or of the day that many
// days after it. Midnight may not exist, when the clocks go forward over it: the
// day begins with the change. It may come twice: the day begins with the first.
// A day that does not exist begins with the next.
func dayStart(t time.Time, after int) time.Time {
	year, month, day := t.Date()
	date := func(zone *time.Location) time.Time { return time.Date(year, month, day+after, 0, 0, 0, 0, zone) }
	midnight := date(t.Location())
	changed, ends := midnight.ZoneBounds()
	switch {
	case dayNumber(midnight) < dayNumber(date(time.UTC)):
		return ends // inside the gap, read by the clock before it
	case midnight.Hour() != 0 || midnight.Minute() != 0:
		return changed // inside the gap, read by the clock after it
	case changed.IsZero():
		return midnight
	}
	_, offset := changed.Add(-1).Zone()
	if first := date(time.FixedZone("", offset)); first.Before(changed) && first.Before(midnight) {
		return first.In(t.Location())
	}
	return midnight
}

// dayNumber orders the dates that clocks show.
func dayNumber(t time.Time) int {
	year, month, day := t.Date()
	return (year*16+int(month))*32 + day
}

// hourStart gives the last time the clock showed a full hour, or went over to one
// that shows other minutes: such a change cuts an hour.
func hourStart(t time.Time) time.Time {
	full := t.Add(-sinceFullHour(t))
	if changed, _ := t.ZoneBounds(); changed.After(full) && shiftsMinutes(changed) {
		return changed
	}
	return full
}

func hourEnd(t time.Time) time.Time {
	full := t.Add(time.Hour - sinceFullHour(t))
	if _, ends := t.ZoneBounds(); !ends.IsZero() && ends.Before(full) && shiftsMinutes(ends) {
		return ends
	}
	return full
}

func sinceFullHour(t time.Time) time.Duration {
	return time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
}

// shiftsMinutes says whether a change of the clock is not by whole hours, as in
// Lord Howe.
func shiftsMinutes(change time.Time) bool {
	_, before := change.Add(-1).Zone()
	_, after := change.Zone()
	return (after-before)%3600 != 0
}
