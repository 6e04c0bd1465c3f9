// Package e2e drives the real binary as a user does: start it, send events, receive
// webhooks, kill it.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// build compiles the binary once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "signalstack-e2e-")
	if err != nil {
		return "", err
	}
	// The private PostgreSQL may run under another uid and passes through here.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "signalstack")
	out, err := exec.Command("go", "build", "-o", bin, "../../cmd/signalstack").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// process is a running binary.
type process struct {
	cmd    *exec.Cmd
	url    string
	stderr *lockedBuffer
	exited chan struct{}
	err    error
}

// lockedBuffer is a buffer that a process writes while the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// environ is this process's without settings that would steer the binary.
func environ(extra ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SIGNALSTACK_") && !strings.HasPrefix(kv, "DATABASE_URL=") && !strings.HasPrefix(kv, "PG") {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}

// start runs the binary. Whoever starts it also waits for what it says.
func start(t *testing.T, env []string, args ...string) (*process, *bufio.Scanner) {
	t.Helper()
	bin, err := build()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(bin, args...), stderr: &lockedBuffer{}, exited: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = environ(env...), p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	reader, writer := io.Pipe()
	go func() {
		_, _ = io.Copy(writer, stdout)
		p.err = p.cmd.Wait()
		_ = writer.Close()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%v said:\n%.20000s", args, p.stderr.String())
		}
	})
	return p, bufio.NewScanner(reader)
}

var readyLine = regexp.MustCompile(`ready at (http://\S+)`)

// startAll runs "signalstack all" and waits for its one line.
func startAll(t *testing.T, args ...string) *process {
	t.Helper()
	p, stdout := start(t, nil, append([]string{"all", "--addr", "127.0.0.1:0"}, args...)...)
	for stdout.Scan() {
		if m := readyLine.FindStringSubmatch(stdout.Text()); m != nil {
			p.url = m[1]
			go func() { // the pipe must not fill
				for stdout.Scan() {
				}
			}()
			return p
		}
	}
	<-p.exited
	require.FailNow(t, "it ended before it was ready", p.stderr.String())
	return nil
}

// kill ends the process without a chance to clean up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop asks the process to end and gives its exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.exited:
	case <-time.After(40 * time.Second):
		require.FailNow(t, "it did not stop", p.stderr.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// run runs the binary to its end.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	bin, err := build()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	var out, talk bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(env...), &out, &talk
	err = cmd.Run()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), talk.String()
}

// call sends JSON and decodes the answer.
func call[T any](t *testing.T, method, url string, body []byte, status int) T {
	t.Helper()
	var v T
	code, answer, err := request(method, url, body)
	require.NoError(t, err)
	require.Equal(t, status, code, "%s %s: %s", method, url, answer)
	require.NoError(t, json.Unmarshal(answer, &v))
	return v
}

func request(method, url string, body []byte) (int, []byte, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 15 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// dataDir gives a directory that the uid PostgreSQL runs under may pass through,
// which those of t.TempDir do not let it.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "signalstack-e2e-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// ask sends one request and gives the status and the header of the answer.
func ask(t *testing.T, method, url, body string) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 15 * time.Second}
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, resp.Header
}

// status is that of GET.
func status(t *testing.T, url string) int {
	t.Helper()
	code, _ := ask(t, http.MethodGet, url, "")
	return code
}

func decodes(answer []byte, into any) bool { return json.Unmarshal(answer, into) == nil }

type accepted struct {
	ID     string   `json:"id"`
	JobIDs []string `json:"job_ids"`
}

type endpoint struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

type page struct {
	Data []struct {
		ID    string `json:"id"`
		State string `json:"state"`
	} `json:"data"`
	NextCursor string `json:"next_cursor"`
}
