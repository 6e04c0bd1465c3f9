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
	"syscall"
	"time"
)

// ephemeralPrefix begins the names of directories that go with their owner.
const ephemeralPrefix = "signalstack-data-"

// home is a data directory that this process owns.
type home struct {
	dir       string // absolute and without links, as stopOrphan compares it
	lock      *os.File
	as        *account
	socket    string // "" until there is one
	ephemeral bool
}

func (h *home) cluster() string { return filepath.Join(h.dir, "postgres") }

// openHome makes the data directory and becomes its owner.
func openHome(ctx context.Context, c Config) (*home, error) {
	if c.Ephemeral {
		return openEphemeral(ctx, c)
	}
	dir := c.DataDir
	if dir == "" {
		dir = DefaultDataDir()
	}
	if dir == "" {
		return nil, errors.New("there is no home directory to keep the data in: choose a directory with --data-dir")
	}
	dir, err := makeDir(dir)
	if err != nil {
		return nil, err
	}
	return own(dir)
}

// openEphemeral makes a new data directory, after it has removed those whose owner
// was killed.
func openEphemeral(ctx context.Context, c Config) (*home, error) {
	base := c.DataDir
	if base == "" && c.NoSync {
		base = memoryDir()
	}
	if base == "" {
		base = os.TempDir()
	}
	base, err := makeDir(base)
	if err != nil {
		return nil, err
	}
	sweep(ctx, base, c.Log)
	dir, err := os.MkdirTemp(base, ephemeralPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("make an ephemeral data directory: %w", err)
	}
	err = open(dir)
	if err == nil {
		var h *home
		if h, err = own(dir); err == nil {
			h.ephemeral = true
			return h, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// own takes the lock of a data directory and signs it.
func own(dir string) (*home, error) {
	lock, err := takeLock(dir, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	h := &home{dir: dir, lock: lock}
	h.as = accountFor(h.cluster())
	_ = removeSocketDir(socketElsewhere(lock)) // a favour to the temporary directory
	if err := errors.Join(h.as.own(lock.Name()), h.sign()); err != nil {
		return nil, errors.Join(err, unlock(lock))
	}
	return h, nil
}

// makeDir makes a directory that PostgreSQL can enter, whatever user it runs as, and
// gives its path without links.
func makeDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find a directory: %w", err)
	}
	_, err = os.Stat(dir)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server's user must traverse it
		return "", fmt.Errorf("make a directory: %w", err)
	}
	if isNew {
		if err := open(dir); err != nil {
			return "", err
		}
	}
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("find a directory: %w", err)
	}
	return dir, nil
}

// open lets the server's user into a directory that we made, whatever the umask.
func open(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // what is secret inside has its own mode
		return fmt.Errorf("make a directory: %w", err)
	}
	return nil
}

// close gives the data directory up, and removes it when it is ephemeral. The
// remains of a killed server may still write for a moment.
func (h *home) close(ctx context.Context) error {
	err := removeSocketDir(h.socket)
	if h.ephemeral {
		var removeErr error
		_, waitErr := within(ctx, 3*time.Second, func() bool {
			removeErr = os.RemoveAll(h.dir)
			return removeErr == nil
		})
		err = errors.Join(err, removeErr)
		if removeErr != nil {
			err = errors.Join(err, waitErr)
		}
	} else {
		err = errors.Join(err, h.lock.Truncate(0)) // a pid that is no owner's would mislead
	}
	return errors.Join(err, unlock(h.lock))
}

// sweep removes the ephemeral directories in base that lost their owner, and the
// servers that outlived it. It is a favour to the machine: a failure is left to the
// next sweep.
func sweep(ctx context.Context, base string, log *slog.Logger) {
	dirs, _ := filepath.Glob(filepath.Join(base, ephemeralPrefix+"*")) // the only error is a bad pattern
	for _, dir := range dirs {
		if err := removeAbandoned(ctx, dir, log); err != nil {
			log.DebugContext(ctx, "an abandoned data directory remains", "dir", dir, "error", err)
		}
	}
}

func removeAbandoned(ctx context.Context, dir string, log *slog.Logger) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return nil // somebody else's
	}
	if pid, err := readPID(lockPath(dir)); err != nil || pid == 0 {
		return err // 0: its owner is about to sign
	}
	lock, err := takeLock(dir, os.O_RDWR)
	if errors.As(err, new(*InUseError)) {
		return nil
	}
	if err != nil {
		return err
	}
	h := &home{dir: dir, lock: lock, ephemeral: true, socket: socketElsewhere(lock)}
	if err := stopOrphan(ctx, h.cluster(), log); err != nil {
		return errors.Join(err, unlock(lock))
	}
	return h.close(ctx)
}
