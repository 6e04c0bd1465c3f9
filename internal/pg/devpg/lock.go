//go:build unix

package devpg

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// takeLock locks a data directory for as long as this process lives, or answers
// InUseError. Children do not inherit the file, so that none can hold the lock.
func takeLock(dir string, flag int) (*os.File, error) {
	lock, err := os.OpenFile(lockPath(dir), flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data directory: %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return lock, nil
	}
	_ = lock.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock the data directory %s, which must be on a local disk: %w", dir, err)
	}
	pid, _ := readPID(lockPath(dir)) // 0 will do
	return nil, &InUseError{DataDir: dir, PID: pid}
}

// unlock lets a data directory go. Closing the file alone may do so late: a process
// that is being started has a copy of it, until its program runs.
func unlock(lock *os.File) error {
	return errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_UN), lock.Close())
}

// socketElsewhere is the socket directory outside the data directory that the last
// owner signed for, if it did not end in peace.
func socketElsewhere(lock *os.File) string {
	lines := bufio.NewScanner(io.NewSectionReader(lock, 0, math.MaxInt64))
	lines.Scan() // the pid
	lines.Scan()
	return strings.TrimSpace(lines.Text())
}

// sign writes who owns the data directory, and where its socket is if elsewhere.
func (h *home) sign() error {
	text := fmt.Sprintf("%d\n", os.Getpid())
	if h.socket != "" && filepath.Dir(h.socket) != h.dir {
		text += h.socket + "\n"
	}
	err := h.lock.Truncate(0)
	if err == nil {
		_, err = h.lock.WriteAt([]byte(text), 0)
	}
	if err != nil {
		return fmt.Errorf("sign the lock of the data directory: %w", err)
	}
	return nil
}
