package analytics

import (
	"time"

	"github.com/signalstack/signalstack/internal/fault"
)

// Asked is the time that a question is about. Zero times stand for the default.
type Asked struct {
	From, To time.Time
	Zone     *time.Location
}

// period fills in what was left open. Now is in the period by a moment, so that
// what just happened is counted.
func (a Asked) period(now time.Time, defaultFrom func(to time.Time) time.Time) (from, to time.Time, err error) {
	from, to = a.From, a.To
	if to.IsZero() {
		to = now.Add(time.Microsecond)
		if !from.Before(to) {
			return from, to, refused("/query/from", "must be before now, where the period ends; choose an earlier from")
		}
	}
	if from.IsZero() {
		from = defaultFrom(to)
	}
	return from, to, nil
}

// refused is the fault of a parameter that can be judged only with the clock of
// the database or the counts.
func refused(pointer, format string, args ...any) error {
	return fault.InvalidParameter(pointer, format, args...)
}
