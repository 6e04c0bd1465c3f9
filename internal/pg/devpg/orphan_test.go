//go:build unix

package devpg

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newCluster makes a data directory with a cluster and gives the binaries too.
func newCluster(t *testing.T) (*home, binaries) {
	t.Helper()
	dir, err := os.MkdirTemp(memoryDir(), "devpg-test-*")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, open(dir))
	h, err := own(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.lock.Close() })
	c := Config{Download: true}.withDefaults()
	bin, err := provide(t.Context(), c, 0, dir)
	require.NoError(t, err)
	require.NoError(t, h.initialize(t.Context(), bin, true))
	require.NoError(t, h.makeSocketDir())
	return h, bin
}

// survivor runs a server that has no owner.
func survivor(t *testing.T, h *home, bin binaries, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t.Context(), h.as, bin.postgres(), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: h.as.credential()} // it does not end with its parent
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s := &Server{home: h, cmd: cmd}
	up, err := within(t.Context(), 20*time.Second, s.ready)
	require.NoError(t, err)
	require.True(t, up)
	return cmd
}

func TestASurvivorIsStopped(t *testing.T) {
	t.Parallel()
	h, bin := newCluster(t)
	cmd := survivor(t, h, bin, arguments(h, Config{}.withDefaults())...)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	require.NoError(t, stopOrphan(t.Context(), h.cluster(), slog.New(slog.DiscardHandler)))
	require.NoError(t, <-ended, "a fast shutdown has the exit code 0")
	require.NoFileExists(t, filepath.Join(h.cluster(), "postmaster.pid"))
}

// A server may be killed while it is waited for, and a dead process keeps its number
// until its parent, or the first process of a container, has waited for it.
func TestASurvivorThatIsKilledLeavesNoPidFile(t *testing.T) {
	t.Parallel()
	h, bin := newCluster(t)
	cmd := survivor(t, h, bin, arguments(h, Config{}.withDefaults())...)
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP)) // so that it does not end in peace
	waiting := make(chan struct{})
	log := slog.New(slog.NewTextHandler(closeOnWrite{waiting}, nil))
	stopped := make(chan error, 1)
	go func() { stopped <- stopOrphan(t.Context(), h.cluster(), log) }()
	<-waiting
	require.NoError(t, cmd.Process.Kill())
	require.NoError(t, <-stopped)
	require.NoError(t, syscall.Kill(cmd.Process.Pid, 0), "nobody has waited for it yet")
	require.NoFileExists(t, filepath.Join(h.cluster(), "postmaster.pid"))

	require.NoError(t, h.lock.Close())
	next, err := Start(t.Context(), Config{DataDir: h.dir, Download: true})
	require.NoError(t, err)
	require.NoError(t, next.Stop(t.Context()))
	require.Error(t, cmd.Wait())
}

// closeOnWrite closes a channel at the first line that is logged.
type closeOnWrite struct{ logged chan struct{} }

func (c closeOnWrite) Write(line []byte) (int, error) {
	close(c.logged)
	return len(line), nil
}

func TestAServerOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	h, bin := newCluster(t)
	cmd := survivor(t, h, bin, "-D", h.cluster(), "-c", "listen_addresses=", "-c", "unix_socket_directories="+h.socket)
	err := stopOrphan(t.Context(), h.cluster(), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "a PostgreSQL that signalstack did not start (process "+strconv.Itoa(cmd.Process.Pid)+")")
	require.True(t, serves(commandLine(cmd.Process.Pid), h.cluster()), "it runs on")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}

func TestAStalePidFileIsRemoved(t *testing.T) {
	t.Parallel()
	cluster := t.TempDir()
	pidFile := filepath.Join(cluster, "postmaster.pid")
	// The number belongs to another process by now: to this one.
	require.NoError(t, os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"+cluster+"\n"), 0o600))
	require.NoError(t, stopOrphan(t.Context(), cluster, slog.New(slog.DiscardHandler)))
	require.NoFileExists(t, pidFile)
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"PATH=/bin", "LD_LIBRARY_PATH=/lib", "LC_ALL=C", "TZ=UTC"}, environment([]string{
		"PATH=/bin", "PGDATA=/elsewhere", "PGPORT=1", "LC_ALL=de_DE.UTF-8", "LANG=de_DE.UTF-8", "LANGUAGE=de", "TZ=Europe/Berlin", "LD_LIBRARY_PATH=/lib",
	}))
}

func TestALockThatIsNotSignedIsNotSwept(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, ephemeralPrefix+"beginning")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(lockPath(dir), nil, 0o600))
	sweep(t.Context(), base, slog.New(slog.DiscardHandler))
	require.DirExists(t, dir, "its owner is about to lock it")
	require.NoError(t, os.WriteFile(lockPath(dir), []byte("99\n"), 0o600))
	sweep(t.Context(), base, slog.New(slog.DiscardHandler))
	require.NoDirExists(t, dir)
}
