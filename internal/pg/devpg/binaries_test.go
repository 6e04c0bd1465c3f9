//go:build unix

package devpg

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// install puts programs of a version, which only know how to say so, into a
// directory.
func install(t *testing.T, dir string, major int) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	program(t, filepath.Join(dir, "postgres"), "postgres (PostgreSQL) "+strconv.Itoa(major)+".4 (made up)")
	program(t, filepath.Join(dir, "initdb"), "initdb (PostgreSQL) "+strconv.Itoa(major)+".4 (made up)")
	return dir
}

func program(t *testing.T, path, answer string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho '"+answer+"'\n"), 0o755))
}

func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return dir
}

func TestPlacesAreInOrderAndOnceEach(t *testing.T) {
	t.Parallel()
	base := realDir(t)
	at := func(name string) string { return filepath.Join(base, name) }
	install(t, at("named/bin"), 16)
	install(t, at("path/bin"), 17)
	install(t, at("usual/15/bin"), 15)
	install(t, at("usual/18/bin"), 18)
	// A directory of links, as in /usr/local/bin, with the pg_config that wins.
	require.NoError(t, os.Mkdir(at("links"), 0o755))
	require.NoError(t, os.Symlink(at("usual/18/bin/postgres"), at("links/postgres")))
	program(t, at("links/pg_config"), at("named/bin"))
	// A server without initdb, and one that does not run.
	require.NoError(t, os.MkdirAll(at("usual/19/bin"), 0o755))
	program(t, at("usual/19/bin/postgres"), "postgres (PostgreSQL) 19")
	install(t, at("usual/20/bin"), 20)
	require.NoError(t, os.WriteFile(at("usual/20/bin/postgres"), []byte("#!/bin/sh\nexit 127\n"), 0o755))

	path := []string{".", "relative", at("missing"), at("links"), at("path/bin")}
	dirs := holding(places(t.Context(), path, []string{at("usual/*/bin")}))
	require.Equal(t, []string{at("named/bin"), at("usual/18/bin"), at("path/bin"), at("usual/15/bin"), at("usual/20/bin")}, dirs)
	require.Equal(t, []binaries{
		{at("named/bin"), 16}, {at("usual/18/bin"), 18}, {at("path/bin"), 17}, {at("usual/15/bin"), 15},
	}, look(t.Context(), dirs))
}

func TestBinDirIsTheOnlyPlace(t *testing.T) {
	t.Parallel()
	dir := install(t, filepath.Join(realDir(t), "bin"), 14)
	require.Equal(t, []string{dir}, candidates(t.Context(), Config{BinDir: dir}, ""))
	require.Empty(t, candidates(t.Context(), Config{BinDir: t.TempDir()}, ""))
}

func TestChoose(t *testing.T) {
	t.Parallel()
	found := []binaries{{"/first", 15}, {"/old", 13}, {"/new", 17}, {"/new again", 17}, {"/other", 16}}
	for _, c := range []struct {
		name  string
		found []binaries
		major int
		want  string
	}{
		{"the newest, first place first", found, 0, "/new"},
		{"the cluster's", found, 15, "/first"},
		{"the cluster's is not there", found, 18, ""},
		{"too old, though the cluster's", found, 13, ""},
		{"too old only", []binaries{{"/old", 13}}, 0, ""},
		{"nothing", nil, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, ok := choose(c.found, c.major)
			require.Equal(t, c.want, b.dir)
			require.Equal(t, c.want != "", ok)
		})
	}
}

func TestMajorOf(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": 15,
		"postgres (PostgreSQL) 18beta1":                        18,
		"postgres (PostgreSQL) 19devel":                        19,
		"postgres (PostgreSQL) 14":                             14,
		"postgres (PostgreSQL) 9.6.24":                         9,
		"postgres (PostgreSQL) ":                               0,
		"some other program":                                   0,
		"":                                                     0,
	} {
		require.Equal(t, want, majorOf(answer), answer)
	}
}

func TestInstallCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		goos, osRelease string
		major           int
		want            string
	}{
		{"linux", "ID=debian\n", 0, "apt-get install -y postgresql"},
		{"linux", "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", 16, "apt-get install -y postgresql-16"},
		{"linux", "ID=fedora\n", 0, "dnf install -y postgresql-server"},
		{"linux", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", 17, "dnf install -y postgresql17-server"},
		{"linux", "ID=alpine\n", 0, "apk add postgresql16"},
		{"linux", "ID=alpine\n", 17, "apk add postgresql17"},
		{"linux", "ID=arch\n", 0, "pacman -S postgresql"},
		{"linux", "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", 0, "zypper install postgresql-server"},
		{"linux", "", 0, "install the PostgreSQL server with your package manager"},
		{"darwin", "", 0, "brew install postgresql@18"},
		{"darwin", "", 15, "brew install postgresql@15"},
	} {
		require.Equal(t, c.want, installCommandOf(c.goos, c.osRelease, c.major), c.osRelease)
	}
}

func TestNotFoundErrorGivesTheWaysOut(t *testing.T) {
	t.Parallel()
	cause := errors.New("no route to the registry")
	err := error(&NotFoundError{
		Major: 17, DataDir: "/data", Found: []string{"15 in /bin"}, Install: "apk add postgresql17", Downloadable: true, Err: cause,
	})
	require.ErrorIs(t, err, cause)
	for _, part := range []string{
		"the data in /data were made by PostgreSQL 17", "found: 15 in /bin", "no route to the registry", "apk add postgresql17",
		"--data-dir", "docker compose up", "DATABASE_URL=", "--download-postgres", "--postgres-mirror",
	} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, (&NotFoundError{Install: "apk add postgresql"}).Error(), "--download-postgres")
}

func TestDataDirOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, goos string
		uid        int
		home, xdg  string
		want       string
	}{
		{"root", "linux", 0, "/root", "/elsewhere", "/var/lib/signalstack"},
		{"a user", "linux", 1000, "/home/a", "", "/home/a/.local/share/signalstack"},
		{"a user with XDG", "linux", 1000, "/home/a", "/data", "/data/signalstack"},
		{"a relative XDG", "linux", 1000, "/home/a", "data", "/home/a/.local/share/signalstack"},
		{"macOS", "darwin", 501, "/Users/a", "/data", "/Users/a/Library/Application Support/signalstack"},
		{"no home", "linux", 1000, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, dataDirOf(c.goos, c.uid, c.home, func(string) string { return c.xdg }))
		})
	}
}
