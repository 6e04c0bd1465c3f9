//go:build unix

package devpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clusterName marks our servers; PostgreSQL shows it in the process list.
const clusterName = "signalstack"

// How long a survivor may take for a fast and for an immediate shutdown.
const (
	fastStop      = 15 * time.Second
	immediateStop = 10 * time.Second
)

// stopOrphan ends a server of ours that outlived its owner, or waits for one that
// is ending by itself. The caller holds the lock of the data directory, so that no
// living owner has it. A server that somebody started by hand is an error.
func stopOrphan(ctx context.Context, cluster string, log *slog.Logger) error {
	pidFile := filepath.Join(cluster, "postmaster.pid")
	pid, err := readPID(pidFile)
	if err != nil || pid == 0 {
		return err
	}
	switch line := commandLine(pid); {
	case !serves(line, cluster):
		return removeStale(pidFile)
	case !strings.Contains(line, "cluster_name="+clusterName):
		return fmt.Errorf("a PostgreSQL that signalstack did not start (process %d) serves %s: stop it, or choose other data with --data-dir", pid, cluster)
	}
	log.InfoContext(ctx, "waiting for an earlier private PostgreSQL to end", "pid", pid)
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, fastStop}, {syscall.SIGQUIT, immediateStop}, {syscall.SIGKILL, immediateStop}} {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop an earlier private PostgreSQL (process %d): %w", pid, err)
		}
		gone, err := within(ctx, step.wait, func() bool { return !serves(commandLine(pid), cluster) })
		switch {
		case err != nil:
			return err
		case gone:
			return removeStale(pidFile)
		}
	}
	return fmt.Errorf("an earlier private PostgreSQL (process %d) does not end", pid)
}

// removeStale removes the pid file of a server that is gone, should it have been
// killed before it could do so. PostgreSQL refuses to start for as long as the number
// in it belongs to anything: to another process by now, or to a dead one that nobody
// has waited for. Should the server's remains still use the data, PostgreSQL finds
// their shared memory, and refuses for that.
func removeStale(pidFile string) error {
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a stale pid file: %w", err)
	}
	return nil
}

// serves says whether a command line is that of a server of the cluster.
func serves(line, cluster string) bool {
	return strings.Contains(line+" ", " -D "+cluster+" ")
}

// readPID gives the number in the first line of a file, 0 when there is no file or
// no number.
func readPID(path string) (int, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of the data directory
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read a pid file: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0, nil
	}
	return pid, nil
}

// within asks again and again, for a time, whether something has come to pass.
func within(ctx context.Context, limit time.Duration, happened func() bool) (bool, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-deadline.C:
			return false, nil
		case <-tick.C:
		}
	}
	return true, nil
}
