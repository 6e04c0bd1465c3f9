package fault_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
)

func TestFaultIsFoundInsideAnError(t *testing.T) {
	t.Parallel()
	f := fault.Missing("job", "42")
	require.Same(t, f, fault.As(fmt.Errorf("get job: %w", fmt.Errorf("read: %w", f))))
	require.Same(t, f, fault.As(errors.Join(errors.New("other"), f)))
	require.Nil(t, fault.As(errors.New("internal")))
	require.Nil(t, fault.As(nil))
}

func TestCauseIsKeptAndStaysOutOfTheMessage(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection to 10.0.0.1 refused")
	f := fault.Away(fmt.Errorf("ping: %w", cause), 2*time.Second)
	require.ErrorIs(t, f, cause)
	require.ErrorContains(t, f, cause.Error())
	require.NotContains(t, f.Message, "10.0.0.1")
	require.Equal(t, fault.Unavailable, f.Kind)
	require.Equal(t, "database_unavailable", f.Code)
	require.Equal(t, 2*time.Second, f.RetryAfter)
	require.Equal(t, fault.InDoubt, f.Outcome, "until somebody knows better")
}

func TestConstructorsSayKindCodeAndSentence(t *testing.T) {
	t.Parallel()
	require.Equal(t, &fault.Error{Kind: fault.Conflict, Code: "taken", Message: "The name x is taken."}, fault.New(fault.Conflict, "taken", "The name %s is taken.", "x"))
	require.Equal(t, &fault.Error{Kind: fault.NotFound, Code: "job_not_found", Message: "There is no job 42."}, fault.Missing("job", "42"))

	details := []fault.Detail{{Pointer: "/a", Detail: "is required"}, {Pointer: "/b", Detail: "must be 1"}}
	body := fault.InvalidBody(details)
	require.Equal(t, fault.Invalid, body.Kind)
	require.Equal(t, "invalid_body", body.Code)
	require.Equal(t, details, body.Details)
	require.Equal(t, body.Message, body.Error(), "there is no cause to add")
	require.NoError(t, body.Unwrap())

	query := fault.InvalidParameter("/query/to", "must be after %s", "from")
	require.Equal(t, fault.Invalid, query.Kind)
	require.Equal(t, "invalid_parameter", query.Code)
	require.Equal(t, []fault.Detail{{Pointer: "/query/to", Detail: "must be after from"}}, query.Details)

	field := fault.InvalidField("/a/0", "must have at most %d characters", 3)
	require.Equal(t, []fault.Detail{{Pointer: "/a/0", Detail: "must have at most 3 characters"}}, field.Details)
	require.Equal(t, body.Code, field.Code)
}

func TestZeroKindIsInternal(t *testing.T) {
	t.Parallel()
	require.Equal(t, fault.Internal, (&fault.Error{}).Kind, "a fault without a kind is not shown to callers")
}
