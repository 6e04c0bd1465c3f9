// Package clients runs the same script with workers in three languages, against a
// server of the real roles.
package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// serve runs a server and its workers until the test ends, and gives its URL.
func serve(t *testing.T) string {
	t.Helper()
	cfg, err := config.Load(nil, map[string]string{
		"DATABASE_URL": pgtest.URL(t), "SIGNALSTACK_ADDR": "127.0.0.1:0", "SIGNALSTACK_LEASE": "1s", "SIGNALSTACK_SHUTDOWN_GRACE": "1s",
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.Run(ctx, app.Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Version: "test", Serve: true, Work: true, Ready: func(url string) { ready <- url }})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	select {
	case url := <-ready:
		return url
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the server does not come up")
		return ""
	}
}

// language is a client and how to start it; "" is none.
type language struct{ name, program, source string }

func TestClients(t *testing.T) {
	t.Parallel()
	goClient := filepath.Join(t.TempDir(), "client")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", goClient, ".")
	build.Dir = "go" // a module of its own, as that of a user is
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, l := range []language{{"go", goClient, ""}, {"node", "node", "node/worker.mjs"}, {"python", "python3", "python/worker.py"}} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(l.program); err != nil {
				t.Skipf("LANGUAGE NOT TESTED: there is no %s on this machine", l.program)
			}
			source := l.source
			if source == "" {
				source = "go/main.go"
			}
			text, err := os.ReadFile(source)
			require.NoError(t, err)
			require.Less(t, bytes.Count(text, []byte("\n")), 150, "a client is small")
			s := &script{t: t, language: l, url: serve(t)}
			s.run()
		})
	}
}

// script is the run of one client.
type script struct {
	t        *testing.T
	language language
	url      string
}

// worker is a client that runs.
type worker struct {
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan struct{}
}

func (s *script) start() *worker {
	args := []string{s.url, "script"}
	if s.language.source != "" {
		args = append([]string{s.language.source}, args...)
	}
	w := &worker{cmd: exec.Command(s.language.program, args...), done: make(chan struct{})}
	w.cmd.Stdout, w.cmd.Stderr = &w.said, &w.said
	require.NoError(s.t, w.cmd.Start())
	go func() {
		_ = w.cmd.Wait() // its state is looked at
		close(w.done)
	}()
	s.t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	return w
}

// ended waits for the end of a client and gives its exit code.
func (s *script) ended(w *worker) int {
	select {
	case <-w.done:
		return w.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		require.FailNow(s.t, "the client does not end")
		return 0
	}
}

func (s *script) call(method, path, body string) jobs.Detailed {
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	require.NoError(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Less(s.t, resp.StatusCode, 300, "%s", text)
	var job jobs.Detailed
	require.NoError(s.t, json.Unmarshal(text, &job))
	return job
}

func (s *script) add(payload string) jobs.Detailed {
	return s.call(http.MethodPost, "/jobs", `{"kind":"external","queue":"script","retry":{"strategy":"ladder","ladder":["100ms"]},"payload":`+payload+`}`)
}

// await waits until a job is as it should be.
func (s *script) await(w *worker, job jobs.Detailed, what string, is func(jobs.Detailed) bool) jobs.Detailed {
	var got jobs.Detailed
	for end := time.Now().Add(60 * time.Second); ; {
		if got = s.call(http.MethodGet, "/jobs/"+job.ID.String(), ""); is(got) {
			return got
		}
		if time.Now().After(end) {
			_ = w.cmd.Process.Kill()
			<-w.done
			require.FailNow(s.t, "the job should be "+what, "%+v\nthe client said: %s", got, w.said.String())
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *script) awaitState(w *worker, job jobs.Detailed, state queue.State, attempts int) jobs.Detailed {
	got := s.await(w, job, string(state), func(j jobs.Detailed) bool { return j.State == state })
	require.Len(s.t, got.Attempts, attempts, "%+v", got)
	return got
}

func (s *script) run() {
	require, w := require.New(s.t), s.start()
	long := s.add(`{"do":"work","seconds":7}`) // longer than its lease of 5 s

	done := s.awaitState(w, s.add(`{"do":"complete"}`), queue.Succeeded, 1)
	require.JSONEq(`{"did":"complete","attempt":1}`, string(done.Result))
	require.Equal(fmt.Sprintf("%s-%d", s.language.name, w.cmd.Process.Pid), done.Attempts[0].WorkerName)

	failed := s.awaitState(w, s.add(`{"do":"fail"}`), queue.Succeeded, 2)
	require.Contains(failed.Attempts[0].Error, "told to fail")
	require.JSONEq(`{"did":"fail","attempt":2}`, string(failed.Result))
	failed = s.awaitState(w, s.add(`{"do":"fail","retry":false}`), queue.Failed, 1)
	require.Equal(queue.OutcomePermanent, failed.Attempts[0].Outcome)

	forever := s.add(`{"do":"work","seconds":600}`)
	s.await(w, forever, "in progress", func(j jobs.Detailed) bool { return j.Progress != nil })
	s.call(http.MethodPost, "/jobs/"+forever.ID.String()+"/cancel", "")
	canceled := s.awaitState(w, forever, queue.Canceled, 1)
	require.Contains(canceled.Attempts[0].Error, "canceled")

	worked := s.awaitState(w, long, queue.Succeeded, 1)
	require.GreaterOrEqual(worked.Attempts[0].FinishedAt.Sub(worked.Attempts[0].StartedAt), 7*time.Second, "its lease was kept")

	crashing := s.add(`{"do":"crash"}`)
	require.Equal(3, s.ended(w), "%s", w.said.String())
	w = s.start()
	crashed := s.awaitState(w, crashing, queue.Succeeded, 2)
	require.Equal(queue.OutcomeCrashed, crashed.Attempts[0].Outcome)

	last := s.add(`{"do":"work","seconds":600}`)
	s.await(w, last, "in progress", func(j jobs.Detailed) bool { return j.Progress != nil })
	require.NoError(w.cmd.Process.Signal(syscall.SIGTERM))
	require.Zero(s.ended(w), "%s", w.said.String())
	back := s.call(http.MethodGet, "/jobs/"+last.ID.String(), "")
	require.Equal(queue.Pending, back.State)
	require.Zero(back.Attempt, "the attempt does not count")
}
