package cron

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Expression is a compiled expression. It does not change.
type Expression struct {
	// Bit n says that the field matches n; Sunday is 0.
	seconds, minutes, hours, days, months, weekdays uint64
	// eitherDay: a day need match only one of the day fields.
	eitherDay bool
	everyHour bool
}

// Error is what is wrong with an expression.
type Error struct {
	Field  string // the field's name; "" is the expression as a whole
	Detail string
}

// Error names the field and says what is wrong.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return fmt.Sprintf("field %s: %s", e.Field, e.Detail)
}

// field is one of the six.
type field struct {
	name      string
	low, high int
	names     []string // of low and what follows
	isDay     bool     // takes ?
}

var fields = [...]field{
	{name: "second", high: 59},
	{name: "minute", high: 59},
	{name: "hour", high: 23},
	{name: "day of month", low: 1, high: 31, isDay: true},
	{name: "month", low: 1, high: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of week", high: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}, isDay: true},
}

// The places of the fields whose peculiarities are seen to here.
const (
	secondField  = 0
	hourField    = 2
	dayField     = 3
	weekdayField = 5
	sunday       = 7 // the other one
)

// macros are whole expressions.
var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// Parse compiles an expression. Its error is an *Error; one that can never fire is
// refused too.
func Parse(text string) (*Expression, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "@") {
		meaning, known := macros[strings.ToLower(text)]
		if !known {
			return nil, &Error{Detail: fmt.Sprintf("has no meaning for %.40q; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually and, with a duration, @every", text)}
		}
		text = meaning
	}
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") {
		return nil, &Error{Detail: "must not name a zone; it has a field of its own, timezone"}
	}
	parts := strings.Fields(text)
	if len(parts) == len(fields)-1 {
		parts = append([]string{"0"}, parts...)
	}
	if len(parts) != len(fields) {
		return nil, &Error{Detail: fmt.Sprintf("must have the five fields minute, hour, day of month, month and day of week, or six with second before them; this one has %d", len(parts))}
	}
	e := &Expression{}
	for i, set := range []*uint64{&e.seconds, &e.minutes, &e.hours, &e.days, &e.months, &e.weekdays} {
		var err error
		if *set, err = fields[i].parse(parts[i]); err != nil {
			return nil, err
		}
	}
	e.eitherDay = !isOpen(parts[dayField]) && !isOpen(parts[weekdayField])
	e.everyHour = bits.OnesCount64(e.hours) == fields[hourField].high+1
	// Any day that comes, comes within these years.
	if _, comes := e.nextWall(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); !comes {
		return nil, &Error{Field: fields[dayField].name, Detail: fmt.Sprintf("%q never comes in the months %q, so that the schedule would never fire", parts[dayField], parts[dayField+1])}
	}
	return e, nil
}

// isOpen says whether a day field leaves the choice to the other one.
func isOpen(part string) bool { return part[0] == '*' || part[0] == '?' }

func (f *field) wrong(format string, args ...any) error {
	return &Error{Field: f.name, Detail: fmt.Sprintf(format, args...)}
}

// parse gives the set of what a list matches.
func (f *field) parse(text string) (uint64, error) {
	var set uint64
	for _, part := range strings.Split(text, ",") {
		low, high, step, err := f.part(part)
		if err != nil {
			return 0, err
		}
		for n := low; n <= high; n += step {
			if f.names != nil && n == sunday && f.high == sunday {
				set |= 1
				continue
			}
			set |= 1 << n
		}
	}
	return set, nil
}

// part reads one part of a list: *, a value or a range, and a step.
func (f *field) part(part string) (low, high, step int, err error) {
	span, stepText, stepped := strings.Cut(part, "/")
	step = 1
	if stepped {
		step, err = strconv.Atoi(stepText)
		if err != nil || step < 1 || step > f.high {
			return 0, 0, 0, f.wrong("the step of %.40q must be a number from 1 to %d", part, f.high)
		}
	}
	from, to, isRange := strings.Cut(span, "-")
	switch {
	case span == "?" && !f.isDay:
		return 0, 0, 0, f.wrong("? stands for the two day fields only; write *")
	case span == "*" || span == "?":
		return f.low, f.last(), step, nil
	}
	if low, err = f.value(from, part); err != nil {
		return 0, 0, 0, err
	}
	switch {
	case !isRange && !stepped:
		return low, low, 1, nil
	case !isRange:
		return low, max(low, f.last()), step, nil
	}
	if high, err = f.value(to, part); err != nil {
		return 0, 0, 0, err
	}
	if high == 0 && low > 0 && f.high == sunday {
		high = sunday // FRI-SUN
	}
	if low > high {
		return 0, 0, 0, f.wrong("the range %.40q begins after it ends; write it as two, such as %s-%d,%d-%s", part, from, f.last(), f.low, to)
	}
	return low, high, step, nil
}

// last is the greatest value that * stands for.
func (f *field) last() int {
	if f.high == sunday {
		return sunday - 1
	}
	return f.high
}

// value reads a number or a name.
func (f *field) value(text, part string) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.low + i, nil
		}
	}
	n, err := strconv.Atoi(text)
	switch {
	case err == nil && n >= f.low && n <= f.high && text[0] != '+' && text[0] != '-':
		return n, nil
	case f.names != nil:
		return 0, f.wrong("%.40q must hold numbers from %d to %d or names from %s to %s; L, W and # are not known", part, f.low, f.high, f.names[0], f.names[len(f.names)-1])
	case f.isDay:
		return 0, f.wrong("%.40q must hold numbers from %d to %d; L, W and # are not known", part, f.low, f.high)
	}
	return 0, f.wrong("%.40q must hold numbers from %d to %d", part, f.low, f.high)
}
