//go:build unix

package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/command"
	"github.com/signalstack/signalstack/internal/jobs"
)

// script makes a kind with the one command "it": a program of these lines.
func script(t *testing.T, lines string, args ...string) jobs.Kind {
	t.Helper()
	path := filepath.Join(t.TempDir(), "it")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o600))
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	return command.Kind(map[string][]string{"it": append([]string{sh, path}, args...)})
}

func job(payload string) jobs.Job {
	return jobs.Job{ID: uuid.Must(uuid.NewV7()), Tenant: "acme", Kind: "command", Attempt: 2, Payload: json.RawMessage(payload)}
}

type output struct {
	ExitCode       int `json:"exit_code"`
	Stdout, Stderr string
	Truncated      bool
}

func run(t *testing.T, kind jobs.Kind, j jobs.Job) output {
	t.Helper()
	result, err := kind.Run(t.Context(), j)
	require.NoError(t, err)
	require.LessOrEqual(t, len(result.Value), jobs.MaxResult)
	var out output
	require.NoError(t, json.Unmarshal(result.Value, &out))
	return out
}

func TestCommandReadsItsDataAndKnowsItsJob(t *testing.T) {
	t.Setenv("SECRET_OF_THE_WORKER", "hunter2")
	kind := script(t, `cat; echo; echo "$1 $2"; env | sort; pwd; echo warned >&2`, "an argument", "$HOME")
	j := job(`{"command":"it","data":{"n": 1.0, "text": "'; rm -rf /; $(x)"}}`)
	out := run(t, kind, j)
	lines := strings.Split(out.Stdout, "\n")
	require.Equal(t, `{"n": 1.0, "text": "'; rm -rf /; $(x)"}`, lines[0], "byte for byte") //nolint:testifylint // the bytes are meant
	require.Equal(t, "an argument $HOME", lines[1], "no shell reads the arguments")
	require.Contains(t, out.Stdout, "SIGNALSTACK_JOB_ID="+j.ID.String())
	require.Contains(t, out.Stdout, "SIGNALSTACK_ATTEMPT=2\n")
	require.Contains(t, out.Stdout, "SIGNALSTACK_TENANT=acme\n")
	require.Contains(t, out.Stdout, "PATH=")
	require.NotContains(t, out.Stdout, "hunter2")
	require.Contains(t, out.Stdout, "\n/\n")
	require.Equal(t, "warned", out.Stderr)
	require.False(t, out.Truncated)
}

func TestCommandReadsTheDataOfItsEvent(t *testing.T) {
	t.Parallel()
	kind := script(t, `cat; echo "$SIGNALSTACK_EVENT_TYPE"`)
	j := job(`{"command":"it"}`)
	j.Event = &jobs.Event{ID: uuid.New(), Type: "order.paid", Data: json.RawMessage(`{"id":7}`)}
	require.Equal(t, "{\"id\":7}order.paid\n", run(t, kind, j).Stdout)
	require.Equal(t, "\n", run(t, kind, job(`{"command":"it"}`)).Stdout, "no data, no input")
}

func TestExitCodesSayWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	for code, isPermanent := range map[int]bool{1: false, 2: false, 75: false, 64: true, 65: true, 78: true, 255: false} {
		_, err := script(t, `cat >/dev/null; echo "it went wrong" >&2; exit "$1"`, strconv.Itoa(code)).Run(t.Context(), job(`{"command":"it"}`))
		require.ErrorContains(t, err, "exit status "+strconv.Itoa(code)+": it went wrong")
		require.Equal(t, isPermanent, jobs.IsPermanent(err), code)
	}
	_, err := script(t, `kill -9 $$`).Run(t.Context(), job(`{"command":"it"}`))
	require.ErrorContains(t, err, "killed")
	require.False(t, jobs.IsPermanent(err))
	_, err = command.Kind(map[string][]string{"it": {"/nowhere/at/all"}}).Run(t.Context(), job(`{"command":"it"}`))
	require.ErrorContains(t, err, "start: ")
	require.False(t, jobs.IsPermanent(err), "another worker may have it")
}

func TestOutputIsKeptWithinBounds(t *testing.T) {
	t.Parallel()
	// Bytes that JSON writes as six.
	out := run(t, script(t, `i=0; while [ $i -lt 2000 ]; do printf '\001\001\001\001\001\001\001\001\001\001'; i=$((i+1)); done; echo first >&2; i=0
while [ $i -lt 500 ]; do printf '0123456789' >&2; i=$((i+1)); done; echo last >&2`), job(`{"command":"it"}`))
	require.Len(t, out.Stdout, 8<<10)
	require.True(t, strings.HasSuffix(out.Stderr, "last"))
	require.NotContains(t, out.Stderr, "first")
	require.True(t, out.Truncated)
}

func TestInputThatNobodyReadsIsNoFailure(t *testing.T) {
	t.Parallel()
	big := `{"command":"it","data":"` + strings.Repeat("x", 1<<20) + `"}`
	require.Equal(t, "done\n", run(t, script(t, `exec 0<&-; echo done`), job(big)).Stdout)
}

// TestEndOfTheAttemptEndsAllProcesses ends a command that ignores SIGTERM, and has
// another one beside it that does.
func TestEndOfTheAttemptEndsAllProcesses(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	kind := script(t, `trap '' TERM; (trap '' TERM; while :; do sleep 0.1; done) & echo "$! $$" > "$1.new"; mv "$1.new" "$1"; while :; do sleep 0.1; done`, pids)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := kind.Run(ctx, job(`{"command":"it"}`))
		done <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(pids); return err == nil }, 20*time.Second, 10*time.Millisecond)
	why := errors.New("it took too long")
	cancel(why)
	err := <-done
	require.ErrorIs(t, err, why)
	require.ErrorContains(t, err, "killed", "SIGTERM was not enough")
	text, err := os.ReadFile(pids)
	require.NoError(t, err)
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return gone(pid) }, 20*time.Second, 10*time.Millisecond, "process %d lives", pid)
	}
}

// gone says whether a process has ended; one that nobody has waited for has.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestCommandMayEndInItsOwnWayWhenToldTo(t *testing.T) {
	t.Parallel()
	began := filepath.Join(t.TempDir(), "began")
	kind := script(t, `trap 'echo "put away" >&2; exit 75' TERM; echo > "$1"; while :; do sleep 0.1; done`, began)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := kind.Run(ctx, job(`{"command":"it"}`))
		done <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(began); return err == nil }, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.ErrorContains(t, <-done, "put away")
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	kind := command.Kind(map[string][]string{"b": {"/b"}, "a": {"/a"}})
	for payload, pointer := range map[string]string{
		``: "/command", `{}`: "/command", `{"command":"c"}`: "/command", `{"command":"a; b"}`: "/command", `{"command":"a","args":["x"]}`: "/args", `7`: "",
	} {
		mistakes := kind.Check(json.RawMessage(payload), jobs.Later{})
		require.Len(t, mistakes, 1, payload)
		require.Equal(t, pointer, mistakes[0].Pointer, payload)
	}
	require.Contains(t, kind.Check(json.RawMessage(`{"command":"c"}`), jobs.Later{})[0].Detail, "a, b")
	require.Empty(t, kind.Check(json.RawMessage(`{"command":"a","data":[1]}`), jobs.Later{Event: true}))
	_, err := kind.Run(t.Context(), job(`{"command":"c"}`))
	require.ErrorContains(t, err, "SIGNALSTACK_COMMANDS")
}
