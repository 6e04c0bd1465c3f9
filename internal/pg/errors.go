package pg

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"time"

	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
)

// SQLSTATE codes that the code acts on (PostgreSQL manual, appendix A).
const (
	uniqueViolation      = "23505"
	checkViolation       = "23514"
	undefinedTable       = "42P01"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	queryCanceled        = "57014"
	readOnlyTransaction  = "25006"
	featureNotSupported  = "0A000"
	invalidStatementName = "26000"
	duplicateStatement   = "42P05"
)

// RetryAfter is what a caller is told to wait when the database does not answer.
const RetryAfter = 2 * time.Second

func code(err error) string {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return string(e.Code)
	}
	return ""
}

// IsUnique says whether err is the violation of the named unique constraint or
// index; "" is any.
func IsUnique(err error, constraint string) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.Code == uniqueViolation && (constraint == "" || e.Constraint == constraint)
}

// IsNoPartition says whether a row found no partition. PostgreSQL reports it as a
// check violation without a constraint.
func IsNoPartition(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.Code == checkViolation && e.Constraint == ""
}

// IsBadData says whether the server refused the values (classes 22 and 23), so
// that the same statement will fail again.
func IsBadData(err error) bool {
	c := code(err)
	return len(c) == 5 && (c[:2] == "22" || c[:2] == "23") && !IsNoPartition(err)
}

// isConflict says whether the whole transaction may simply be run again: nothing
// of it happened.
func isConflict(err error) bool {
	c := code(err)
	return c == serializationFailure || c == deadlockDetected || isStalePlan(err)
}

// IsAway says whether the database could not be reached or did not answer in
// time: connection errors, shutdown and start-up, timeouts, a full disk, a
// read-only server. What was being written may or may not have happened.
func IsAway(err error) bool {
	if err == nil {
		return false
	}
	switch c := code(err); {
	case c == "":
		break
	case c == queryCanceled, c == lockNotAvailable, c == readOnlyTransaction:
		return true
	default:
		return c[:2] == "08" || c[:2] == "57" || c[:2] == "53" || c[:2] == "58"
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded)
}

// Fault turns an error of an absent database into one the caller can wait out;
// other errors stay as they are. It says so when nothing can have been stored.
func Fault(err error) error {
	if fault.As(err) != nil || !IsAway(err) {
		return err
	}
	f := fault.Away(err, RetryAfter)
	if isUndone(err) {
		f.Outcome = fault.Nothing
	}
	return f
}

// txError is the failure of a transaction by an absent database.
type txError struct {
	err    error
	undone bool // it failed before COMMIT was sent
}

func (e *txError) Error() string { return e.err.Error() }
func (e *txError) Unwrap() error { return e.err }

// isUndone says whether it is certain that nothing was stored: no COMMIT was sent,
// the server itself refused a statement of its own, or nobody was there to hear it.
func isUndone(err error) bool {
	if tx, ok := errors.AsType[*txError](err); ok {
		return tx.undone
	}
	op, ok := errors.AsType[*net.OpError](err)
	return code(err) != "" || ok && op.Op == "dial"
}
