//go:build unix

package devpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// usualPlaces are where the packages of Debian, Red Hat and Alpine, Homebrew and
// Postgres.app put the binaries of each major version.
func usualPlaces() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/usr/libexec/postgresql*",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	}
}

// binaries are the programs of one PostgreSQL.
type binaries struct {
	dir   string
	major int
}

func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }
func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }

// provide finds the binaries for a cluster of a major version, 0 when there is no
// cluster yet, or downloads them with consent.
func provide(ctx context.Context, c Config, major int, dataDir string) (binaries, error) {
	cache := cacheDir()
	found := look(ctx, candidates(ctx, c, cache))
	if b, ok := choose(found, major); ok {
		return b, nil
	}
	if err := ctx.Err(); err != nil {
		return binaries{}, err // what was asked for its version may have been cut short
	}
	missing := &NotFoundError{Major: major, DataDir: dataDir, Found: describe(found), Install: installCommand(major)}
	if c.BinDir != "" {
		if len(found) == 0 {
			missing.Err = fmt.Errorf("%s does not hold an initdb and a postgres that runs", c.BinDir)
		}
		return binaries{}, missing
	}
	r := thisRelease()
	missing.Downloadable = cache != "" && r.name != "" && (major == 0 || major == r.major)
	if !missing.Downloadable {
		if c.Download {
			missing.Err = errors.New("there is no download that would help")
		}
		return binaries{}, missing
	}
	b, err := obtain(ctx, c, r, cache)
	switch {
	case ctx.Err() != nil:
		return binaries{}, ctx.Err()
	case err != nil && !errors.Is(err, errDeclined):
		missing.Err = err
	}
	if err != nil {
		return binaries{}, missing
	}
	return b, nil
}

// candidates lists the directories that hold a server, best first.
func candidates(ctx context.Context, c Config, cache string) []string {
	if c.BinDir != "" {
		return holding([]string{c.BinDir})
	}
	patterns := usualPlaces()
	if cache != "" {
		patterns = append(patterns, filepath.Join(cache, "postgresql-*", "native", "bin"))
	}
	return holding(places(ctx, filepath.SplitList(os.Getenv("PATH")), patterns))
}

// places lists the directories to look in: what pg_config names, then PATH, then
// those of the patterns.
func places(ctx context.Context, path, patterns []string) []string {
	dirs := slices.Concat(configured(ctx, path), path)
	for _, pattern := range patterns {
		matches, _ := filepath.Glob(pattern) // the only error is a bad pattern
		dirs = append(dirs, matches...)
	}
	return dirs
}

// configured is the directory that pg_config names, which some packages keep off
// the PATH.
func configured(ctx context.Context, path []string) []string {
	for _, dir := range path {
		program := filepath.Join(dir, "pg_config")
		if !filepath.IsAbs(dir) || !isFile(program) {
			continue
		}
		out, err := ask(ctx, program, "--bindir")
		if err != nil {
			return nil
		}
		return []string{out}
	}
	return nil
}

// holding keeps the directories that hold a server, each once, by the name that
// links lead to: PATH is full of links to the usual places.
func holding(dirs []string) []string {
	var kept []string
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) {
			continue // what the working directory holds is nobody's choice
		}
		real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
		if err != nil {
			continue
		}
		dir = filepath.Dir(real)
		if isFile(filepath.Join(dir, "postgres")) && isFile(filepath.Join(dir, "initdb")) && !slices.Contains(kept, dir) {
			kept = append(kept, dir)
		}
	}
	return kept
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// look asks the server of each directory for its version and leaves out those that
// do not run.
func look(ctx context.Context, dirs []string) []binaries {
	var found []binaries
	for _, dir := range dirs {
		b := binaries{dir: dir}
		out, err := ask(ctx, b.postgres(), "--version")
		if err != nil {
			continue
		}
		if b.major = majorOf(out); b.major != 0 {
			found = append(found, b)
		}
	}
	return found
}

// ask gives the answer of a program that only reports, which PostgreSQL's do as
// root too.
func ask(ctx context.Context, program, question string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, question).Output() //nolint:gosec // a program of the user's own PATH
	return strings.TrimSpace(string(out)), err
}

// majorOf reads "postgres (PostgreSQL) 18beta1 (Debian ...)"; 0 is no version.
func majorOf(answer string) int {
	_, version, _ := strings.Cut(answer, "(PostgreSQL) ")
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	major, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return major
}

// choose takes the first of the cluster's major version, or of the newest one when
// there is no cluster yet.
func choose(found []binaries, major int) (binaries, bool) {
	var best binaries
	for _, b := range found {
		if major != 0 && b.major != major || b.major < minMajor {
			continue
		}
		if b.major > best.major {
			best = b
		}
	}
	return best, best.major != 0
}

func describe(found []binaries) []string {
	var lines []string
	for _, b := range found {
		lines = append(lines, fmt.Sprintf("%d in %s", b.major, b.dir))
	}
	return lines
}
