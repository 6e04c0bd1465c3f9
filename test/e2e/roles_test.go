package e2e

import (
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/demo"
	"github.com/signalstack/signalstack/internal/pgtest"
)

var servingURL = regexp.MustCompile(`"msg":"serving","url":"([^"]+)"`)

// startServe runs "signalstack serve" on a database and waits until it serves.
func startServe(t *testing.T, dsn string) *process {
	t.Helper()
	p, _ := start(t, []string{"DATABASE_URL=" + dsn, "SIGNALSTACK_ALLOW_NETWORKS=127.0.0.0/8"}, "serve", "--addr", "127.0.0.1:0")
	require.Eventually(t, func() bool {
		if m := servingURL.FindStringSubmatch(p.stderr.String()); m != nil {
			p.url = m[1]
		}
		return p.url != ""
	}, 20*time.Second, 10*time.Millisecond)
	return p
}

func startWork(t *testing.T, dsn string) *process {
	t.Helper()
	p, _ := start(t, []string{"DATABASE_URL=" + dsn, "SIGNALSTACK_ALLOW_NETWORKS=127.0.0.0/8"}, "work", "--queues", "default=5")
	return p
}

func TestServeAndWorkRunApart(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	env := []string{"DATABASE_URL=" + dsn}
	for _, role := range []string{"serve", "work"} {
		code, _, stderr := run(t, env, role)
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "run: signalstack migrate up")
	}
	code, stdout, stderr := run(t, env, "migrate", "up")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "applied")

	one, two := startServe(t, dsn), startServe(t, dsn)
	workers := []*process{startWork(t, dsn), startWork(t, dsn)}
	receiver, err := demo.StartReceiver(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = receiver.Close() }()
	e := call[endpoint](t, http.MethodPost, one.url+"/endpoints", []byte(`{"url":"`+receiver.URL("/h")+`","event_types":["*"]}`), 201)
	receiver.Expect("/h", e.Secret)
	for range 20 {
		a := call[accepted](t, http.MethodPost, two.url+"/events", []byte(`{"type":"a","data":1}`), 201)
		require.Len(t, a.JobIDs, 1, "a subscription holds in every process from its answer on")
		awaitState(t, one.url, a.JobIDs[0], "succeeded")
		require.Len(t, receiver.Deliveries(a.JobIDs[0]), 1)
	}
	code, _, _ = run(t, nil, "healthcheck", "--url", one.url)
	require.Zero(t, code)
	for _, p := range append(workers, one, two) {
		require.Zero(t, p.stop(t), p.stderr.String())
	}
	code, _, _ = run(t, nil, "healthcheck", "--url", one.url)
	require.Equal(t, 3, code)
}

func TestMigrateVerbs(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=" + pgtest.Empty(t)}
	verb := func(v string) string {
		code, stdout, stderr := run(t, env, "migrate", v)
		require.Zero(t, code, "%s: %s", v, stderr)
		return stdout
	}
	require.Contains(t, verb("status"), "pending")
	verb("up")
	require.Contains(t, verb("up"), "nothing to do")
	version := verb("version")
	require.NotContains(t, verb("status"), "pending")
	require.Contains(t, verb("redo"), "taken back")
	require.Equal(t, version, verb("version"))
	verb("down")
	require.NotEqual(t, version, verb("version"))
}

func TestMistakesOfTheCommandLineAreUsageErrors(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"nonsense"}, {"migrate"}, {"migrate", "sideways"}, {"serve", "--nonsense"}, {"serve", "extra"}, {"all", "--lease", "soon"}} {
		code, _, stderr := run(t, nil, args...)
		require.Equal(t, 2, code, "%v: %s", args, stderr)
	}
	code, _, stderr := run(t, []string{"SIGNALSTACK_LEASE=soon", "SIGNALSTACK_MAX_BODY=x", "SIGNALSTACK_QUEUES=a=b"}, "all")
	require.Equal(t, 2, code)
	for _, name := range []string{"SIGNALSTACK_LEASE", "SIGNALSTACK_MAX_BODY", "SIGNALSTACK_QUEUES"} {
		require.Contains(t, stderr, name, "every bad value at once")
	}
	code, _, stderr = run(t, nil, "serve")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "DATABASE_URL")
}

func TestConfigMasksSecretsAndFilesAreRead(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/url"
	require.NoError(t, os.WriteFile(file, []byte("smtp://user:hunter2@mail:25\n"), 0o600))
	code, stdout, _ := run(t, []string{"DATABASE_URL=postgres://u:hunter2@h/d", "SIGNALSTACK_SMTP_URL_FILE=" + file}, "config")
	require.Zero(t, code)
	require.NotContains(t, stdout, "hunter2")
	require.Contains(t, stdout, file)
	require.Contains(t, stdout, "****")
}
