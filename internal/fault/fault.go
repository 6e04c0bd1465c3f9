package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of mistake or failure a fault is.
type Kind int

// The kinds of faults. Malformed is a request that cannot be read at all, Invalid
// one that can be read and is wrong.
const (
	Internal Kind = iota
	Malformed
	Invalid
	NotFound
	Conflict
	Unauthorized
	Forbidden
	TooLarge
	Unsupported
	Unavailable
)

// Detail is one mistake in a request: where it stands (a JSON pointer, RFC 6901) and
// what to do about it.
type Detail struct {
	Pointer string `json:"pointer" doc:"JSON pointer (RFC 6901) to the field; /query/NAME and /path/NAME name parameters"`
	Detail  string `json:"detail" doc:"What is wrong and how to mend it"`
}

// Outcome says what became of what a failed request asked to be stored.
type Outcome int

// The outcomes. Told is for faults whose message says all there is to say.
const (
	Told    Outcome = iota
	InDoubt         // nobody knows whether it was stored
	Nothing         // nothing was stored
)

// Error is a fault. Err, when set, is the cause: it is logged, never sent.
type Error struct {
	Kind       Kind
	Code       string
	Message    string
	Outcome    Outcome // the edge adds it to the message of a request that writes
	Details    []Detail
	RetryAfter time.Duration
	// About is what a program may want to know of the thing that the fault is about; it
	// is sent as JSON. Mostly nil.
	About any
	Err   error
}

// Error gives the message and, when there is one, the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes a fault of a kind with a stable snake_case code and a sentence.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// InvalidBody is the fault of a body that can be read and has these mistakes.
func InvalidBody(details []Detail) *Error {
	return &Error{Kind: Invalid, Code: "invalid_body", Message: "The request body has mistakes; errors lists each of them.", Details: details}
}

// InvalidField is the fault of a single wrong field.
func InvalidField(pointer, format string, args ...any) *Error {
	return InvalidBody([]Detail{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}})
}

// InvalidParameters is the fault of parameters that have these mistakes.
func InvalidParameters(details []Detail) *Error {
	return &Error{Kind: Invalid, Code: "invalid_parameter", Message: "The parameters have mistakes; errors lists each of them.", Details: details}
}

// InvalidParameter is the fault of a single wrong parameter.
func InvalidParameter(pointer, format string, args ...any) *Error {
	return InvalidParameters([]Detail{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}})
}

// Missing is the fault of an id that names nothing.
func Missing(noun, id string) *Error {
	return New(NotFound, noun+"_not_found", "There is no %s %s.", noun, id)
}

// Away is the fault of a database that does not answer now and should later.
// Whether something was stored is in doubt until somebody knows better.
func Away(err error, after time.Duration) *Error {
	return &Error{
		Kind: Unavailable, Code: "database_unavailable", RetryAfter: after, Err: err,
		Message: "The database does not answer.", Outcome: InDoubt,
	}
}

// As gives the fault inside err, or nil when err is internal.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return nil
}
