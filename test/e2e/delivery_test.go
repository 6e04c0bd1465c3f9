package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/demo"
)

// TestGitHubEventsArriveOnceIntactAndSigned sends all embedded GitHub payloads
// through the binary and looks at the receiver's side.
func TestGitHubEventsArriveOnceIntactAndSigned(t *testing.T) {
	t.Parallel()
	p := startAll(t, "--ephemeral")
	receiver, err := demo.StartReceiver(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = receiver.Close() }()
	e := call[endpoint](t, http.MethodPost, p.url+"/endpoints", []byte(`{"url":"`+receiver.URL("/hooks")+`","event_types":["*"]}`), 201)
	receiver.Expect("/hooks", e.Secret)

	webhooks, err := demo.GitHub()
	require.NoError(t, err)
	require.Len(t, webhooks, 25)
	sent := map[string]demo.Webhook{} // by job
	for _, w := range webhooks {
		body := append([]byte(`{"type":"`+w.Type()+`","data":`), w.Payload...)
		a := call[accepted](t, http.MethodPost, p.url+"/events", append(body, '}'), 201)
		require.Len(t, a.JobIDs, 1)
		sent[a.JobIDs[0]] = w
	}
	require.Len(t, sent, 25)
	for id, w := range sent {
		awaitState(t, p.url, id, "succeeded")
		got := receiver.Deliveries(id)
		require.Len(t, got, 1, "once")
		require.NoError(t, got[0].Err, "the official library accepts the signature")
		require.Equal(t, w.Type(), got[0].Type)
		require.True(t, bytes.Equal(w.Payload, got[0].Data), "byte for byte")
	}
	require.Zero(t, p.stop(t))
}

// TestAwkwardDataArrivesUnchanged sends what JSON allows and most stores spoil.
func TestAwkwardDataArrivesUnchanged(t *testing.T) {
	t.Parallel()
	p := startAll(t, "--ephemeral")
	receiver, err := demo.StartReceiver(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = receiver.Close() }()
	e := call[endpoint](t, http.MethodPost, p.url+"/endpoints", []byte(`{"url":"`+receiver.URL("/hooks")+`","event_types":["*"]}`), 201)
	receiver.Expect("/hooks", e.Secret)
	for _, data := range []string{
		`"\u0000"`, `9007199254740993`, `{"a":1,"a":2}`, `1e400`, `{"z":1,"a":2}`, `"é\ud800<&>\u2028"`, `[ 1 , 2 ]`, `null`, `""`, `{}`,
	} {
		a := call[accepted](t, http.MethodPost, p.url+"/events", []byte(`{"type":"awkward","data":`+data+`}`), 201)
		awaitState(t, p.url, a.JobIDs[0], "succeeded")
		got := receiver.Deliveries(a.JobIDs[0])
		require.Len(t, got, 1)
		require.NoError(t, got[0].Err)
		require.Equal(t, data, string(got[0].Data))
	}
}

func awaitState(t *testing.T, url, id, state string) {
	t.Helper()
	var job struct{ State string }
	require.Eventually(t, func() bool {
		code, answer, err := request(http.MethodGet, url+"/jobs/"+id, nil)
		return err == nil && code == 200 && json.Unmarshal(answer, &job) == nil && job.State == state
	}, 30*time.Second, 20*time.Millisecond, "job %s is %s, not %s", id, job.State, state)
}

func TestDemoEndsByItselfWithExitCodeZero(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, nil, "all", "--demo", "--ephemeral", "--addr", "127.0.0.1:0")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "signature verified")
	require.Contains(t, stdout, "25 events")
	require.Contains(t, stdout, "analytics")
}
