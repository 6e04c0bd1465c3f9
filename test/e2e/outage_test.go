package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg/devpg"
)

// slowReceiver answers a request only when the test says so.
type slowReceiver struct {
	url     string
	came    chan struct{} // one token for each request
	release chan struct{} // closed: answer
}

func newSlowReceiver(t *testing.T) *slowReceiver {
	t.Helper()
	r := &slowReceiver{came: make(chan struct{}, 100), release: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.came <- struct{}{}
		select {
		case <-r.release:
		case <-req.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// call makes a job that calls the receiver, and waits until it has.
func (r *slowReceiver) call(t *testing.T, api string) (id string) {
	t.Helper()
	body := fmt.Appendf(nil, `{"kind":"http","payload":{"url":"%s"},"timeout":"1m"}`, r.url)
	id = call[struct{ ID string }](t, http.MethodPost, api+"/jobs", body, 201).ID
	select {
	case <-r.came:
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the job was not started")
	}
	return id
}

// job is what these tests look at.
type job struct {
	State    string
	Attempt  int
	Attempts []struct{ Outcome string }
}

func startServer(t *testing.T, dir string) *devpg.Server {
	t.Helper()
	server, err := devpg.Start(t.Context(), devpg.Config{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	return server
}

// TestOutageOfPostgreSQL takes the database away from serve and work and gives it
// back.
func TestOutageOfPostgreSQL(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	server := startServer(t, dir)
	dsn := server.DSN()
	code, _, stderr := run(t, []string{"DATABASE_URL=" + dsn}, "migrate", "up")
	require.Zero(t, code, stderr)
	serve, work := startServe(t, dsn), startWork(t, dsn)
	call[map[string]any](t, http.MethodPost, serve.url+"/rules",
		[]byte(`{"name":"log","pattern":{"type":["a"]},"actions":[{"kind":"log","payload":{"message":"a"}}]}`), 201)
	receiver := newSlowReceiver(t)
	id := receiver.call(t, serve.url)

	require.NoError(t, server.Stop(t.Context()))
	for method, path := range map[string]string{http.MethodPost: "/events", http.MethodGet: "/health"} {
		start := time.Now()
		code, header := ask(t, method, serve.url+path, `{"type":"a"}`)
		require.Equal(t, http.StatusServiceUnavailable, code, path)
		require.NotEmpty(t, header.Get("Retry-After"), path)
		require.Equal(t, "application/problem+json", header.Get("Content-Type"))
		require.Less(t, time.Since(start), 10*time.Second, path)
	}
	require.Equal(t, 200, status(t, serve.url+"/livez"))
	close(receiver.release) // the job ends while there is nowhere to write that down

	startServer(t, dir)
	var a accepted
	require.Eventually(t, func() bool {
		code, answer, err := request(http.MethodPost, serve.url+"/events", []byte(`{"type":"a"}`))
		return err == nil && code == 201 && decodes(answer, &a)
	}, 30*time.Second, 50*time.Millisecond, "it recovers by itself")
	awaitState(t, serve.url, a.JobIDs[0], "succeeded")
	awaitState(t, serve.url, id, "succeeded")
	require.Len(t, call[job](t, http.MethodGet, serve.url+"/jobs/"+id, nil, 200).Attempts, 1, "no attempt was lost by the outage")
	require.Zero(t, work.stop(t), work.stderr.String())
	require.Zero(t, serve.stop(t), serve.stderr.String())
}

func TestShutdownFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := startAll(t, "--data-dir", dir)
	receiver := newSlowReceiver(t)
	id := receiver.call(t, p.url)
	require.Equal(t, 200, status(t, p.url+"/readyz"))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		return status(t, p.url+"/readyz") == http.StatusServiceUnavailable
	}, 10*time.Second, 10*time.Millisecond, "readiness says no while the job goes on")
	require.Equal(t, "running", call[job](t, http.MethodGet, p.url+"/jobs/"+id, nil, 200).State)
	close(receiver.release)
	<-p.exited
	require.Zero(t, p.cmd.ProcessState.ExitCode(), p.stderr.String())

	p = startAll(t, "--data-dir", dir)
	require.Equal(t, "succeeded", call[job](t, http.MethodGet, p.url+"/jobs/"+id, nil, 200).State)
}

func TestSecondSignalHandsBackWithoutBurningAnAttempt(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := startAll(t, "--data-dir", dir)
	receiver := newSlowReceiver(t)
	id := receiver.call(t, p.url)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	require.Eventually(t, func() bool {
		return status(t, p.url+"/readyz") == http.StatusServiceUnavailable
	}, 10*time.Second, 10*time.Millisecond)
	start := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	<-p.exited
	require.Less(t, time.Since(start), 10*time.Second, "the grace of 25 s was cut short")
	require.Zero(t, p.cmd.ProcessState.ExitCode(), p.stderr.String())

	close(receiver.release)
	p = startAll(t, "--data-dir", dir)
	awaitState(t, p.url, id, "succeeded")
	require.Len(t, call[job](t, http.MethodGet, p.url+"/jobs/"+id, nil, 200).Attempts, 1)
}

// TestJobOfADeadWorkerRunsAgain kills one of two workers in the middle of a job.
func TestJobOfADeadWorkerRunsAgain(t *testing.T) {
	t.Parallel()
	server := startServer(t, dataDir(t))
	code, _, stderr := run(t, []string{"DATABASE_URL=" + server.DSN()}, "migrate", "up")
	require.Zero(t, code, stderr)
	serve, first := startServe(t, server.DSN()), startWork(t, server.DSN())
	receiver := newSlowReceiver(t)
	id := receiver.call(t, serve.url)
	startWork(t, server.DSN())
	first.kill()
	died := time.Now()
	select {
	case <-receiver.came:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the job did not run again")
	}
	t.Logf("ran again %s after the kill", time.Since(died).Round(time.Millisecond))
	require.Less(t, time.Since(died), 13*time.Second, "a lease of 10 s and a pass every 2 s")
	close(receiver.release)
	awaitState(t, serve.url, id, "succeeded")
	attempts := call[job](t, http.MethodGet, serve.url+"/jobs/"+id, nil, 200).Attempts
	require.Len(t, attempts, 2)
	require.Equal(t, "crashed", attempts[0].Outcome)
}
