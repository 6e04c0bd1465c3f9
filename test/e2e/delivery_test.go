package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/demo"
)

// TestGitHubEventsArriveOnceIntactAndSigned sends all embedded payloads to a GitHub
// source, signed as GitHub signs, each of them twice and once forged. Rules match
// them by what is in them; the test looks at the receiver's side.
func TestGitHubEventsArriveOnceIntactAndSigned(t *testing.T) {
	t.Parallel()
	p := startAll(t, "--ephemeral")
	receiver, err := demo.StartReceiver(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = receiver.Close() }()
	webhooks, err := demo.GitHub()
	require.NoError(t, err)
	require.Len(t, webhooks, 25)

	// Patterns, and which of the payloads they match by their content.
	patterns := map[string][]int{
		`{"data":{"repository":{"owner":{"login":[{"anything-but":["Codertocat"]}]}}}}`:                              {12, 13, 24},
		`{"data":{"repository":{"language":[null],"open_issues":[{"numeric":[">",0]}]}}}`:                            {8, 9, 10, 11, 14},
		`{"type":[{"prefix":"com.github.issue"}],"data":{"issue":{"labels":{"name":["bug"]}},"action":["created"]}}`: {8, 9},
		`{"data":{"ref":[{"wildcard":"refs/tags/*"}],"organization":{"login":[{"exists":false}]}}}`:                  {17},
		`{"$or":[{"subject":["simple-tag"]},{"data":{"repository":{"private":[true]}}}]}`:                            {2, 3, 23},
	}
	want := map[string][]int{} // by path
	for pattern, of := range patterns {
		path := fmt.Sprint("/rule-", len(want))
		e := call[endpoint](t, http.MethodPost, p.url+"/endpoints", []byte(`{"url":"`+receiver.URL(path)+`"}`), 201)
		receiver.Expect(path, e.Secret)
		want[path] = of
		rule := `{"name":"r","pattern":` + pattern + `,"actions":[{"kind":"webhook","endpoint_id":"` + e.ID + `"}]}`
		call[accepted](t, http.MethodPost, p.url+"/rules", []byte(rule), 201)
	}
	shaped := call[endpoint](t, http.MethodPost, p.url+"/endpoints", []byte(`{"url":"`+receiver.URL(shapedPath)+`"}`), 201)
	receiver.Expect(shapedPath, shaped.Secret)
	want[shapedPath] = []int{8, 9}
	call[accepted](t, http.MethodPost, p.url+"/rules", []byte(`{"name":"shaped","pattern":{"data":{"issue":{"labels":{"name":["bug"]}},"action":["created"]}},
		"actions":[{"kind":"webhook","endpoint_id":"`+shaped.ID+`","transform":"{type, data: {number: .data.issue.number, title: .data.issue.title, by: .data.sender.login}}"}]}`), 201)

	const secret = "It's a Secret to Everybody"
	source := call[githubSource](t, http.MethodPost, p.url+"/sources", []byte(`{"name":"GitHub","kind":"github","secrets":[{"secret":"`+secret+`"}]}`), 201)
	got := map[string][]int{}
	for i, w := range webhooks {
		e := receive(t, p.url, source, w, i, secret)
		for _, job := range e.Jobs {
			awaitState(t, p.url, job.ID, "succeeded")
			arrived := receiver.Deliveries(job.ID)
			require.Len(t, arrived, 1, "once")
			require.NoError(t, arrived[0].Err, "the official library accepts the signature")
			require.Equal(t, e.Type, arrived[0].Type)
			if arrived[0].Path == shapedPath {
				require.JSONEq(t, shapedOf(t, w.Payload), string(arrived[0].Data))
			} else {
				require.True(t, bytes.Equal(w.Payload, arrived[0].Data), "byte for byte")
			}
			got[arrived[0].Path] = append(got[arrived[0].Path], i)
		}
	}
	require.Equal(t, want, got)
	require.Len(t, call[page](t, http.MethodGet, p.url+"/events?limit=1000", nil, 200).Data, 25)
	counts := call[githubSource](t, http.MethodGet, p.url+source.Path, nil, 200).Counts
	require.Equal(t, []int{25, 25, 25}, []int{counts.Accepted, counts.Duplicates, counts.Rejected})
	require.Zero(t, p.stop(t))
}

// shapedPath is where webhooks go whose body a transform makes.
const shapedPath = "/shaped"

// shapedOf is what the transform is to make of a payload.
func shapedOf(t *testing.T, payload []byte) string {
	t.Helper()
	var from struct {
		Issue struct {
			Number int
			Title  string
		}
		Sender struct{ Login string }
	}
	require.NoError(t, json.Unmarshal(payload, &from))
	require.NotZero(t, from.Issue.Number)
	made, err := json.Marshal(map[string]any{"number": from.Issue.Number, "title": from.Issue.Title, "by": from.Sender.Login})
	require.NoError(t, err)
	return string(made)
}

type githubSource struct {
	Path   string
	Counts struct{ Accepted, Duplicates, Rejected int }
}

// githubEvent is an event with what the adapter for GitHub makes of it.
type githubEvent struct {
	Type, Source, Subject string
	SenderID              string `json:"sender_id"`
	Jobs                  []struct{ ID string }
}

// receive posts a webhook to a source as GitHub does: forged, then truly, then once
// more, and gives the event that it became.
func receive(t *testing.T, url string, source githubSource, w demo.Webhook, i int, secret string) githubEvent {
	t.Helper()
	delivery := fmt.Sprintf("72d3162e-cc78-11e3-81ab-4c9367dc%04d", i)
	post := func(secret string) (int, string) {
		req, err := http.NewRequest(http.MethodPost, url+source.Path, bytes.NewReader(w.Payload))
		require.NoError(t, err)
		req.Header = w.Header(delivery, secret)
		client := http.Client{Timeout: 15 * time.Second}
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}
	code, _ := post("a guess")
	require.Equal(t, 401, code)
	code, first := post(secret)
	require.Equal(t, 200, code, first)
	code, again := post(secret)
	require.Equal(t, 200, code, again)
	require.Equal(t, first, again)
	var answer struct {
		EventID string `json:"event_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(first), &answer))
	e := call[githubEvent](t, http.MethodGet, url+"/events/"+answer.EventID, nil, 200)
	require.Equal(t, delivery, e.SenderID)
	require.Contains(t, e.Type, "com.github.")
	require.Contains(t, e.Source, "github.com/")
	return e
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
	require.Contains(t, stdout, "com.github.pull_request.opened")
	require.Contains(t, stdout, "signature verified")
	require.Contains(t, stdout, "25 events")
	require.Contains(t, stdout, "analytics")
}
