//go:build unix

package devpg

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// halt asks for a fast shutdown, then for an immediate one, and then kills.
func (s *Server) halt(ctx context.Context) error {
	select {
	case <-s.done:
		return nil // Err keeps what it has to say
	default:
		s.stopping.Store(true)
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, fastStop}, {syscall.SIGQUIT, immediateStop}} {
		if s.end(step.signal, share(ctx, step.wait)) {
			return nil
		}
		s.log.WarnContext(ctx, "the private PostgreSQL does not end in time", "signal", step.signal.String())
	}
	if s.end(syscall.SIGKILL, immediateStop) {
		return nil
	}
	return fmt.Errorf("kill PostgreSQL: process %d does not end", s.cmd.Process.Pid)
}

// end sends a signal and says whether the process ended within the time.
func (s *Server) end(signal syscall.Signal, wait time.Duration) bool {
	_ = s.cmd.Process.Signal(signal) // fails when it has ended, which done says too
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.done:
		return true
	case <-timer.C:
		return false
	}
}

// share is the time for one step of a stop: what it may take, but no more than
// three quarters of what is left, so that the next step has its turn.
func share(ctx context.Context, most time.Duration) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	if deadline, ok := ctx.Deadline(); ok {
		return min(most, time.Until(deadline)*3/4)
	}
	return most
}
