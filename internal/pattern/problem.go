package pattern

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/signalstack/signalstack/internal/fault"
)

// Problem is one mistake: where it stands, as a JSON pointer (RFC 6901) from the
// root of the text, and what to do about it.
type Problem struct {
	Pointer string
	Detail  string
}

// Problems are all mistakes of a pattern or an event, in the order of its text.
// There is at least one in an error.
type Problems []Problem

// Error gives the mistakes in one line.
func (p Problems) Error() string {
	parts := make([]string, len(p))
	for i, problem := range p {
		parts[i] = strings.TrimPrefix(problem.Pointer+": "+problem.Detail, ": ")
	}
	return strings.Join(parts, "; ")
}

// Details gives the mistakes of a pattern that stands at a pointer of a body, from the
// error of Compile; none when it is nil.
func Details(at string, err error) []fault.Detail {
	if err == nil {
		return nil
	}
	problems, ok := errors.AsType[Problems](err)
	if !ok {
		return []fault.Detail{{Pointer: at, Detail: err.Error()}}
	}
	mistakes := make([]fault.Detail, len(problems))
	for i, p := range problems {
		mistakes[i] = fault.Detail{Pointer: at + p.Pointer, Detail: p.Detail}
	}
	return mistakes
}

// maxReport bounds an answer, in bytes: a pattern can hold thousands of mistakes,
// each under a pointer as long as the pattern.
const maxReport = 64 << 10

// report gathers problems while a text is walked. Its pointer is that of the
// value the walk stands on.
type report struct {
	pointer  []byte
	problems Problems
	size     int // bytes of the problems
	more     int // mistakes beyond maxReport
}

// enter steps down to a field and gives the way back.
func (r *report) enter(name string) (back int) {
	back = len(r.pointer)
	r.pointer = append(r.pointer, '/')
	for i := range len(name) {
		switch name[i] {
		case '~':
			r.pointer = append(r.pointer, "~0"...)
		case '/':
			r.pointer = append(r.pointer, "~1"...)
		default:
			r.pointer = append(r.pointer, name[i])
		}
	}
	return back
}

// enterIndex steps down to an element of a list and gives the way back.
func (r *report) enterIndex(i int) (back int) {
	back = len(r.pointer)
	r.pointer = strconv.AppendInt(append(r.pointer, '/'), int64(i), 10)
	return back
}

// leave goes the way back.
func (r *report) leave(back int) { r.pointer = r.pointer[:back] }

// add notes a mistake at the current place.
func (r *report) add(format string, args ...any) {
	if r.size >= maxReport {
		r.more++
		return
	}
	p := Problem{Pointer: string(r.pointer), Detail: fmt.Sprintf(format, args...)}
	r.size += len(p.Pointer) + len(p.Detail)
	r.problems = append(r.problems, p)
}

// err gives what was noted, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	if r.more > 0 {
		r.problems = append(r.problems, Problem{Detail: fmt.Sprintf("has %d more mistakes; mend these first", r.more)})
	}
	return r.problems
}
