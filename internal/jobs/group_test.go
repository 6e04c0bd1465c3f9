package jobs

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A worker that stops ends its attempts one after the other: the job that leads an
// attempt may hear of it before those that it took along, whose attempt this was not.
func TestWhoWasTakenAlongIsCutWithTheAttempt(t *testing.T) {
	t.Parallel()
	leader, endLeader := context.WithCancelCause(t.Context())
	member, endMember := context.WithCancelCause(t.Context())
	g := &group{done: make(chan struct{})}
	go func() {
		g.run(leader, &Runner{work: t.Context()}, func(ctx context.Context, _ []Job) (int, Result, error) {
			<-ctx.Done()
			return 2, Result{}, ctx.Err()
		})
	}()
	endLeader(errCut)
	<-g.done
	time.AfterFunc(20*time.Millisecond, func() { endMember(errCut) })
	_, err := g.wait(member, 1)
	require.ErrorIs(t, err, errCut)
	require.True(t, Interrupted(member))
}
