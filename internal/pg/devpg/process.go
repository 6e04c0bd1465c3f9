//go:build unix

package devpg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// command prepares a PostgreSQL program, by absolute path, to run as the account.
// When ctx ends it gets SIGINT, on which it tidies up.
func command(ctx context.Context, as *account, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment(os.Environ())
	cmd.Dir = "/" // the account may not be able to enter ours
	cmd.SysProcAttr = attributes(as.credential())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// environment leaves out what would change the server behind our back, and fixes
// the language of its messages and the time zone of its log.
func environment(environ []string) []string {
	kept := make([]string, 0, len(environ)+2)
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE" || name == "TZ" {
			continue
		}
		kept = append(kept, v)
	}
	return append(kept, "LC_ALL=C", "TZ=UTC")
}

// onOwnThread runs f on an operating system thread of its own. The kernel sends
// Pdeathsig when the thread that started a child ends, not the process, and the Go
// runtime ends idle threads as it likes (Go issue 27505): so f must start the child
// and wait for it.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f()
	}()
}

// output runs a prepared program to its end and gives what it said.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out []byte
	var err error
	done := make(chan struct{})
	onOwnThread(func() {
		defer close(done)
		out, err = cmd.CombinedOutput()
	})
	<-done
	return out, startError(err)
}

// startError names the cause of an EPERM: the kernel refused the change of user.
func startError(err error) error {
	if errors.Is(err, syscall.EPERM) && os.Geteuid() == 0 {
		return errNotPermitted
	}
	return err
}
