//go:build unix

package devpg

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"sync"
	"sync/atomic"
)

// Server is a running private PostgreSQL.
type Server struct {
	home *home
	log  *slog.Logger

	cmd      *exec.Cmd
	done     chan struct{}
	exit     error // of the process; to be read after done
	stopping atomic.Bool

	mu     sync.Mutex // held by Stop
	closed bool
}

// Start starts PostgreSQL on the data directory and makes what is missing. When it
// returns, the database can be used. The end of ctx ends the start, not the server.
func Start(ctx context.Context, c Config) (*Server, error) {
	c = c.withDefaults()
	h, err := openHome(ctx, c)
	if err != nil {
		return nil, err
	}
	s := &Server{home: h, log: c.Log}
	if err := s.start(ctx, c); err != nil {
		return nil, errors.Join(err, h.close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, c Config) error {
	h := s.home
	major, err := clusterMajor(h.cluster())
	if err != nil {
		return err
	}
	if err := stopOrphan(ctx, h.cluster(), s.log); err != nil {
		return err
	}
	bin, err := provide(ctx, c, major, h.dir)
	if err != nil {
		return err
	}
	if major == 0 {
		s.log.InfoContext(ctx, "making a private PostgreSQL", "major", bin.major, "bin", bin.dir, "dir", h.dir)
		if err := h.initialize(ctx, bin, c.NoSync); err != nil {
			return err
		}
	}
	if err := h.makeSocketDir(); err != nil {
		return err
	}
	if err := s.run(ctx, c, bin); err != nil {
		return h.explain(err, bin)
	}
	s.log.InfoContext(ctx, "the private PostgreSQL is ready", "major", bin.major, "pid", s.cmd.Process.Pid, "dir", h.dir)
	return nil
}

// DSN is the URL of the database.
func (s *Server) DSN() string { return s.home.dsn(databaseName) }

// Done is closed when PostgreSQL has ended, by Stop or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why PostgreSQL ended by itself. It is nil while it runs and after Stop.
func (s *Server) Err() error {
	select {
	case <-s.done:
		if !s.stopping.Load() {
			return s.failure()
		}
	default:
	}
	return nil
}

// Stop ends PostgreSQL and gives the data directory up. A server that does not end
// in time is killed, which loses nothing that was committed.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if err := s.halt(ctx); err != nil {
		return err
	}
	s.closed = true
	return s.home.close(context.WithoutCancel(ctx))
}
