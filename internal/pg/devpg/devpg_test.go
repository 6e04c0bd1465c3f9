//go:build unix

package devpg_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg/devpg"
)

// ownerVariable makes this test binary an owner of the data directory it names,
// until it is killed.
const ownerVariable = "DEVPG_TEST_OWNER_OF"

func TestMain(m *testing.M) {
	dir, isOwner := os.LookupEnv(ownerVariable)
	if !isOwner {
		os.Exit(m.Run())
	}
	server, err := devpg.Start(context.Background(), devpg.Config{
		DataDir: dir, Ephemeral: os.Getenv(ownerVariable+"_EPHEMERAL") != "", Download: true,
	})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = fmt.Fprintln(os.Stdout, server.DSN())
	<-server.Done()
}

// startOwner runs an owner of the data directory in another process and gives the
// URL of its database.
func startOwner(t *testing.T, dir string, environ ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), ownerVariable+"="+dir), environ...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd, strings.TrimSpace(line)
}

// kill ends a process as the kernel would when memory is short.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

// newDir is a directory, in memory where there is enough.
func newDir(t *testing.T) string {
	t.Helper()
	return newDirIn(t, devpg.MemoryDir())
}

// newDirIn is a directory that the user postgres may enter, unlike t.TempDir.
func newDirIn(t *testing.T, base string) string {
	t.Helper()
	dir, err := os.MkdirTemp(base, "devpg-test-*")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	dir, err = filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// start starts a server that ends with the test.
func start(t *testing.T, c devpg.Config) *devpg.Server {
	t.Helper()
	c.Download = true
	begin := time.Now()
	server, err := devpg.Start(t.Context(), c)
	require.NoError(t, err)
	t.Logf("started in %s", time.Since(begin).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *devpg.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, server.Stop(ctx))
}

// query runs a statement on a connection of its own and gives what it answers.
func query(t *testing.T, dsn, statement string) (answer string) {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(t.Context(), statement).Scan(&answer))
	return answer
}

const (
	makeNotes = `CREATE TABLE notes (id int); INSERT INTO notes VALUES (1), (2), (3); SELECT 'made'`
	sumNotes  = `SELECT sum(id) FROM notes`
)

func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "postgres", "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}

func socketDir(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	return u.Query().Get("host")
}

func TestNextStartHasTheData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newDirIn(t, os.TempDir()), "made", "on the way")
	first := start(t, devpg.Config{DataDir: dir})
	require.Equal(t, filepath.Join(dir, "run"), socketDir(t, first.DSN()))
	require.Equal(t, "made", query(t, first.DSN(), makeNotes))
	require.NoError(t, first.Err())
	stop(t, first)
	stop(t, first)
	<-first.Done()
	require.NoError(t, first.Err(), "it did not end by itself")
	require.NoDirExists(t, filepath.Join(dir, "run"))

	next := start(t, devpg.Config{DataDir: dir})
	require.Equal(t, "6", query(t, next.DSN(), sumNotes))
	require.FileExists(t, filepath.Join(dir, "postgres.log"))
	require.FileExists(t, filepath.Join(dir, "postgres.log.1"))
}

func TestTheServerIsDurableAndPrivate(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := start(t, devpg.Config{DataDir: dir})
	// What the data directory says must not win.
	conf, err := os.OpenFile(filepath.Join(dir, "postgres", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = conf.WriteString("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nlisten_addresses = '*'\nport = 5433\n")
	require.NoError(t, err)
	require.NoError(t, conf.Close())
	stop(t, first)

	server := start(t, devpg.Config{DataDir: dir})
	for name, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": "", "port": "5432",
		"max_connections": "200", "server_encoding": "UTF8", "cluster_name": "signalstack",
	} {
		require.Equal(t, want, query(t, server.DSN(), "SELECT current_setting('"+name+"')"), name)
	}
	info, err := os.Stat(socketDir(t, server.DSN()))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestPostgreSQLNeverRunsAsRoot(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	start(t, devpg.Config{DataDir: dir, NoSync: true})
	for _, name := range []string{"postgres", "run", "postgres.log", "lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		uid := int(info.Sys().(*syscall.Stat_t).Uid)
		require.NotZero(t, uid, name)
		if os.Geteuid() != 0 {
			require.Equal(t, os.Geteuid(), uid, name)
		}
	}
}

func TestADirectoryThatPostgreSQLCannotEnterIsNamed(t *testing.T) {
	t.Parallel()
	closed := newDir(t)
	require.NoError(t, os.Chmod(closed, 0o700))
	server, err := devpg.Start(t.Context(), devpg.Config{DataDir: filepath.Join(closed, "data"), Download: true})
	if os.Geteuid() != 0 {
		require.NoError(t, err, "it is our own directory, and PostgreSQL runs as we do")
		stop(t, server)
		return
	}
	require.ErrorContains(t, err, "cannot enter "+closed)
	require.ErrorContains(t, err, "--data-dir")
}

func TestAKilledOwnerLosesNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	owner, dsn := startOwner(t, dir)
	require.Equal(t, "made", query(t, dsn, makeNotes))
	kill(t, owner)

	server := start(t, devpg.Config{DataDir: dir})
	require.Equal(t, "6", query(t, server.DSN(), sumNotes))
	said, err := os.ReadFile(filepath.Join(dir, "postgres.log.1"))
	require.NoError(t, err)
	require.Contains(t, string(said), "database system is shut down", "the first server ended in peace")
}

func TestKilledOwnerAndServerLoseNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	owner, dsn := startOwner(t, dir)
	require.Equal(t, "made", query(t, dsn, makeNotes))
	require.NoError(t, owner.Process.Signal(syscall.SIGSTOP)) // so that it does nothing about the next line
	require.NoError(t, syscall.Kill(postmaster(t, dir), syscall.SIGKILL))
	kill(t, owner)

	server := start(t, devpg.Config{DataDir: dir})
	require.Equal(t, "6", query(t, server.DSN(), sumNotes))
}

func TestAKilledServerIsReported(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	server := start(t, devpg.Config{DataDir: dir})
	require.Equal(t, "made", query(t, server.DSN(), makeNotes))
	require.NoError(t, syscall.Kill(postmaster(t, dir), syscall.SIGKILL))
	<-server.Done()
	require.ErrorContains(t, server.Err(), "killed")
	require.ErrorContains(t, server.Err(), filepath.Join(dir, "postgres.log"))
	stop(t, server)
	require.ErrorContains(t, server.Err(), "killed", "Stop does not hide it")

	next := start(t, devpg.Config{DataDir: dir})
	require.Equal(t, "6", query(t, next.DSN(), sumNotes))
}

func TestAServerThatSomebodyStoppedIsReported(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	server := start(t, devpg.Config{DataDir: dir, NoSync: true})
	require.NoError(t, syscall.Kill(postmaster(t, dir), syscall.SIGINT))
	<-server.Done()
	require.ErrorContains(t, server.Err(), "somebody stopped it")
}

func TestASecondOwnerIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	owner, dsn := startOwner(t, dir)
	_, err := devpg.Start(t.Context(), devpg.Config{DataDir: dir})
	var inUse *devpg.InUseError
	require.ErrorAs(t, err, &inUse)
	require.Equal(t, devpg.InUseError{DataDir: dir, PID: owner.Process.Pid}, *inUse)
	require.Equal(t, "1", query(t, dsn, "SELECT 1"), "the first owner's server is untouched")
}

func TestEphemeralDataAreGoneAfterStop(t *testing.T) {
	t.Parallel()
	base := newDir(t)
	server := start(t, devpg.Config{DataDir: base, Ephemeral: true, NoSync: true})
	require.Equal(t, "made", query(t, server.DSN(), makeNotes))
	require.Equal(t, "off", query(t, server.DSN(), "SHOW fsync"))
	stop(t, server)
	require.Empty(t, names(t, base))
}

func TestEphemeralDataOfAKilledOwnerAreSwept(t *testing.T) {
	t.Parallel()
	base := newDir(t)
	owner, _ := startOwner(t, base, ownerVariable+"_EPHEMERAL=yes")
	abandoned := names(t, base)
	require.Len(t, abandoned, 1)
	living := start(t, devpg.Config{DataDir: base, Ephemeral: true, NoSync: true})
	require.Subset(t, names(t, base), abandoned, "its owner lives")
	kill(t, owner)
	stop(t, start(t, devpg.Config{DataDir: base, Ephemeral: true, NoSync: true}))
	require.NotContains(t, names(t, base), abandoned[0])
	require.Equal(t, "1", query(t, living.DSN(), "SELECT 1"))
	stop(t, living)
	require.Empty(t, names(t, base))
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAnotherPlaceForTheSocket(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{
		"long":  strings.Repeat("long", 30),
		"comma": "this,that",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(newDir(t), part)
			owner, dsn := startOwner(t, dir)
			left := socketDir(t, dsn)
			require.NotContains(t, left, part)
			require.Equal(t, "made", query(t, dsn, makeNotes))
			kill(t, owner)

			server := start(t, devpg.Config{DataDir: dir})
			require.NoDirExists(t, left, "what the killed owner left is gone")
			require.Equal(t, "6", query(t, server.DSN(), sumNotes))
			stop(t, server)
			require.NoDirExists(t, socketDir(t, server.DSN()))
		})
	}
}

func TestDataOfAnotherMajorVersion(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "postgres"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres", "PG_VERSION"), []byte("13\n"), 0o644))
	_, err := devpg.Start(t.Context(), devpg.Config{DataDir: dir, Download: true})
	var missing *devpg.NotFoundError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, 13, missing.Major)
	require.Equal(t, dir, missing.DataDir)
	require.False(t, missing.Downloadable)
	require.ErrorContains(t, err, "made by PostgreSQL 13, which was not found")
}

func TestABinDirWithoutBinaries(t *testing.T) {
	t.Parallel()
	dir, bin := newDir(t), newDir(t)
	_, err := devpg.Start(t.Context(), devpg.Config{DataDir: dir, BinDir: bin, Download: true})
	require.ErrorAs(t, err, new(*devpg.NotFoundError))
	require.ErrorContains(t, err, bin+" does not hold an initdb and a postgres")
}

// logged calls a function at each line of a log.
type logged func()

func (f logged) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func TestACancelledStartLeavesNothingHalfMade(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The first line says that initdb begins.
	log := slog.New(slog.NewTextHandler(logged(cancel), nil))
	_, err := devpg.Start(ctx, devpg.Config{DataDir: dir, Download: true, Log: log})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"lock"}, names(t, dir))
	start(t, devpg.Config{DataDir: dir, NoSync: true})
}

func TestAServerThatDoesNotEndIsKilled(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]bool{"there is no time": false, "it hangs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			server := start(t, devpg.Config{DataDir: dir})
			require.Equal(t, "made", query(t, server.DSN(), makeNotes))
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if hang {
				require.NoError(t, syscall.Kill(postmaster(t, dir), syscall.SIGSTOP))
			} else {
				cancel()
			}
			require.NoError(t, server.Stop(ctx))
			<-server.Done()
			next := start(t, devpg.Config{DataDir: dir})
			require.Equal(t, "6", query(t, next.DSN(), sumNotes))
		})
	}
}

func TestRemainsOfAKilledServerAreWaitedFor(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	server := start(t, devpg.Config{DataDir: dir})
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		db, err := sql.Open("postgres", server.DSN())
		if err == nil { // the answer does not matter
			_, _ = db.Exec(`SELECT count(*) FROM generate_series(1, 10000000) AS busy`)
			_ = db.Close()
		}
	}()
	watch, err := sql.Open("postgres", server.DSN())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var n int
		err := watch.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%AS busy' AND state = 'active' AND pid <> pg_backend_pid()`).Scan(&n)
		return err == nil && n == 1
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, watch.Close())
	require.NoError(t, syscall.Kill(postmaster(t, dir), syscall.SIGKILL))
	<-server.Done()
	stop(t, server)
	next := start(t, devpg.Config{DataDir: dir})
	require.Equal(t, "1", query(t, next.DSN(), "SELECT 1"))
	<-busy
}
