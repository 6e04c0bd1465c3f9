//go:build unix

package devpg

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxSocketPath leaves some room below the 104 bytes that macOS gives a socket's
	// path; Linux gives 108.
	maxSocketPath = 100
	// socketPrefix begins the names of socket directories outside the data.
	socketPrefix = "signalstack-socket-"
	// port is only part of the socket's name.
	port = "5432"
)

func socketName() string { return ".s.PGSQL." + port }

// makeSocketDir makes the directory that only PostgreSQL's user and we can enter,
// outside the data directory when a path in there would be too long.
func (h *home) makeSocketDir() error {
	dir := filepath.Join(h.dir, "run")
	err := removeSocketDir(dir) // a killed server's
	switch {
	case err != nil:
		return err
	case suits(dir):
		err = os.Mkdir(dir, 0o700)
	default:
		dir, err = os.MkdirTemp(shortTempDir(), socketPrefix+"*")
	}
	if err != nil {
		return fmt.Errorf("make the socket directory: %w", err)
	}
	h.socket = dir
	return errors.Join(h.sign(), h.as.own(dir))
}

// suits says whether a socket in the directory can be listened on and named in a
// database URL, where a comma would separate two hosts.
func suits(dir string) bool {
	return len(filepath.Join(dir, socketName())) <= maxSocketPath && !strings.Contains(dir, ",")
}

func shortTempDir() string {
	if dir := os.TempDir(); suits(filepath.Join(dir, socketPrefix+"0123456789")) {
		return dir
	}
	return "/tmp"
}

// removeSocketDir removes a socket directory and what PostgreSQL may have left in
// it, and nothing else: the path may come from a file.
func removeSocketDir(dir string) error {
	if dir == "" {
		return nil
	}
	for _, path := range []string{filepath.Join(dir, socketName()), filepath.Join(dir, socketName()+".lock"), dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the socket directory: %w", err)
		}
	}
	return nil
}

// dsn is the URL of a database, with everything said that the environment could
// say otherwise.
func (h *home) dsn(database string) string {
	query := url.Values{"host": {h.socket}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Host: ":" + port, Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}
