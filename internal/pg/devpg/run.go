//go:build unix

package devpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// errRemains says that processes of a killed server still use its data.
var errRemains = errors.New("processes of an earlier server still use the data")

// remainsTime is how long such processes may take to notice. An idle one does at
// once, a busy one when its statement is done or its client is found dead.
const remainsTime = 20 * time.Second

// run starts the process and waits until the database can be used.
func (s *Server) run(ctx context.Context, c Config, bin binaries) error {
	out, err := s.home.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the server has its own
	_, waitErr := within(ctx, remainsTime, func() bool {
		err = s.launch(ctx, c, bin, out)
		if err == nil {
			err = s.becomeReady(ctx)
		}
		return !errors.Is(err, errRemains)
	})
	if err == nil || s.done == nil {
		return err
	}
	if waitErr != nil {
		err = waitErr
	}
	return errors.Join(err, s.halt(context.WithoutCancel(ctx)))
}

// launch starts the process and a watcher of its end.
func (s *Server) launch(ctx context.Context, c Config, bin binaries, out *os.File) error {
	cmd, done := command(context.WithoutCancel(ctx), s.home.as, bin.postgres(), arguments(s.home, c)...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	started := make(chan error, 1)
	onOwnThread(func() {
		if err := cmd.Start(); err != nil {
			started <- startError(err)
			return
		}
		s.cmd, s.done = cmd, done
		started <- nil
		s.exit = cmd.Wait()
		close(done)
	})
	if err := <-started; err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	return nil
}

// becomeReady waits until the server takes connections, which after a crash is when
// it has replayed its log, and makes the database.
func (s *Server) becomeReady(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(3 * time.Second)
	defer patience.Stop()
	for !s.ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return s.failure()
		case <-patience.C:
			s.log.InfoContext(ctx, "waiting for PostgreSQL, which recovers after a crash", "log", s.home.logPath())
		case <-tick.C:
		}
	}
	return s.home.ensureDatabase(ctx)
}

// ready reads the status in the server's own pid file: asking by connecting would
// fill its log with refusals.
func (s *Server) ready() bool {
	const pidLine, statusLine = 0, 7
	text, err := os.ReadFile(filepath.Join(s.home.cluster(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	return len(lines) > statusLine && strings.TrimSpace(lines[statusLine]) == "ready" &&
		strings.TrimSpace(lines[pidLine]) == fmt.Sprint(s.cmd.Process.Pid)
}

// failure says why the process ended, with what it said last.
func (s *Server) failure() error {
	cause := "somebody stopped it"
	if s.exit != nil {
		cause = s.exit.Error()
	}
	err := fmt.Errorf("PostgreSQL ended: %s (its log is %s)", cause, s.home.logPath())
	text, readErr := os.ReadFile(s.home.logPath())
	if readErr != nil {
		return err // it went with ephemeral data
	}
	said := lastLines(text, 5)
	if strings.Contains(said, "pre-existing shared memory block") {
		err = fmt.Errorf("%w: %w", errRemains, err)
	}
	return fmt.Errorf("%w\n%s", err, said)
}

func (h *home) logPath() string { return filepath.Join(h.dir, "postgres.log") }

// openLog begins a log and keeps the one before.
func (h *home) openLog() (*os.File, error) {
	path := h.logPath()
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("put the last log aside: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // a file of the data directory
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if err := h.as.own(path); err != nil {
		return nil, errors.Join(fmt.Errorf("open the log: %w", err), f.Close())
	}
	return f, nil
}

// lastLines gives the end of what a program said.
func lastLines(out []byte, n int) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}
