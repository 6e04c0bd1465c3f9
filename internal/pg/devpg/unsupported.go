//go:build !unix

package devpg

import (
	"context"
	"fmt"
	"runtime"
)

// Server is a running private PostgreSQL; there is none on this operating system.
type Server struct{}

// Start refuses: without unix sockets, process groups and flock none of the
// package's promises would hold.
func Start(context.Context, Config) (*Server, error) {
	return nil, &NotFoundError{
		Install: "run signalstack in WSL, or install PostgreSQL and set DATABASE_URL",
		Err:     fmt.Errorf("a private PostgreSQL needs Linux, macOS or another Unix, and this is %s", runtime.GOOS),
	}
}

// DSN is "".
func (*Server) DSN() string { return "" }

// Stop has nothing to stop.
func (*Server) Stop(context.Context) error { return nil }

// Done is closed.
func (*Server) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// Err is nil.
func (*Server) Err() error { return nil }
