//go:build unix

package devpg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// agreed says whether a release may be downloaded: by what was said in advance,
// else by asking whoever sits at the terminal.
func agreed(ctx context.Context, c Config, r release, registry string) bool {
	if c.Download {
		return true
	}
	if !isTerminal(c.Stdin) || !isTerminal(c.Stderr) {
		return false
	}
	_, _ = fmt.Fprintf(c.Stderr, "A PostgreSQL that fits was not found on this machine. Download version %d (%s) from %s? [Y/n] ", r.major, megabytes(r), host(registry))
	return says(ctx, c.Stdin, "", "y", "yes")
}

// says reads one line and compares it. A read of a terminal cannot be cancelled: when
// ctx ends first, its goroutine waits on for a line that nobody needs, until the
// process ends.
func says(ctx context.Context, r io.Reader, answers ...string) bool {
	heard := make(chan bool, 1)
	go func() {
		line, err := bufio.NewReader(r).ReadString('\n')
		line = strings.ToLower(strings.TrimSpace(line))
		yes := false
		for _, answer := range answers {
			yes = yes || line == answer
		}
		heard <- yes && err == nil
	}()
	select {
	case yes := <-heard:
		return yes
	case <-ctx.Done():
		return false
	}
}

// isTerminal says whether a reader or a writer is one.
func isTerminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// showProgress gives what to write the download to as well, and what ends the show:
// a bar on a terminal, one line in a log.
func showProgress(w io.Writer, r release, registry string) (io.Writer, func()) {
	if w == nil {
		return io.Discard, func() {}
	}
	if !isTerminal(w) {
		_, _ = fmt.Fprintf(w, "downloading PostgreSQL %d (%s) from %s, as none that fits was found\n", r.major, megabytes(r), host(registry))
		return io.Discard, func() {}
	}
	bar := progressbar.NewOptions64(r.size,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(fmt.Sprintf("downloading PostgreSQL %d", r.major)),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
	)
	return bar, func() { _, _ = fmt.Fprintln(w) }
}

func megabytes(r release) string { return fmt.Sprintf("%d MB", (r.size+500_000)/1_000_000) }

// host names a registry without what a URL may hold of secrets.
func host(registry string) string {
	if u, err := url.Parse(registry); err == nil && u.Host != "" {
		return u.Host
	}
	return "the registry"
}
