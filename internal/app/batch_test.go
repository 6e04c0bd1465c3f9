package app

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// batches is a receiver of webhooks with several events. It refuses the first request.
type batches struct {
	mu      sync.Mutex
	refused int
	got     []batch
	header  []http.Header
	raw     [][]byte
}

type batch struct {
	Type string
	Data []batchEvent
}

type batchEvent struct {
	ID, Type string
	Data     json.RawMessage
}

func (b *batches) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused++; b.refused == 1 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var one batch
	if err := json.Unmarshal(body, &one); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.got, b.header, b.raw = append(b.got, one), append(b.header, r.Header), append(b.raw, body)
}

// all gives the data that arrived, by the id of their webhook.
func (b *batches) all() (data map[string]string, requests int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data = map[string]string{}
	for _, one := range b.got {
		for _, item := range one.Data {
			data[item.ID] = string(item.Data)
		}
	}
	return data, len(b.got)
}

// startAll runs both roles on a database of their own and gives the URL.
func startAll(t *testing.T) string {
	t.Helper()
	cfg, err := config.Load(nil, map[string]string{"DATABASE_URL": pgtest.URL(t), "SIGNALSTACK_ADDR": "127.0.0.1:0"})
	require.NoError(t, err)
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Run(t.Context(), Options{
			Config: cfg, Log: slog.New(slog.DiscardHandler), Serve: true, Work: true, AllowLoopback: true, Ready: func(url string) { ready <- url },
		})
	}()
	t.Cleanup(func() { require.NoError(t, <-ended) }) // the test's context has ended by then
	select {
	case url := <-ready:
		return url
	case err := <-ended:
		require.NoError(t, err)
		return ""
	}
}

// ask sends a request and decodes the answer.
func ask(t *testing.T, method, url, body string, status int, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Timeout: time.Minute}).Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, status, response.StatusCode, string(answer))
	require.NoError(t, json.Unmarshal(answer, into))
}

// TestEventsArriveInBatches sends so many events that a batch is full and the rest has
// to wait for its time. The first batch is refused, and comes again.
func TestEventsArriveInBatches(t *testing.T) {
	t.Parallel()
	url := startAll(t)
	var to batches
	receiver := httptest.NewServer(&to)
	defer receiver.Close()
	var endpoint struct{ Secret string }
	ask(t, http.MethodPost, url+"/endpoints", `{"url":"`+receiver.URL+`","event_types":["a.*"],"batch":{"max_events":10,"max_wait":"3s"},
		"retry":{"strategy":"ladder","ladder":["1s"],"jitter":"none"}}`, 201, &endpoint)
	want := map[string]string{}
	began := time.Now()
	for i := range 25 {
		var event struct {
			JobIDs []string `json:"job_ids"`
		}
		data := fmt.Sprintf(`{"n":%d, "big":9007199254740993}`, i)
		ask(t, http.MethodPost, url+"/events", `{"type":"a.b","data":`+data+`}`, 201, &event)
		require.Len(t, event.JobIDs, 1)
		want[event.JobIDs[0]] = data
	}
	require.Eventually(t, func() bool { data, _ := to.all(); return len(data) == len(want) }, 30*time.Second, 20*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), 3*time.Second, "the last waited for company")
	data, requests := to.all()
	require.Equal(t, want, data)
	require.Less(t, requests, 8)

	verifier, err := standardwebhooks.NewWebhook(endpoint.Secret)
	require.NoError(t, err)
	to.mu.Lock()
	defer to.mu.Unlock()
	most := 0
	for i, body := range to.raw {
		require.NoError(t, verifier.Verify(body, to.header[i]))
		require.Equal(t, "batch", to.got[i].Type)
		require.LessOrEqual(t, len(to.got[i].Data), 10)
		require.True(t, slices.IsSortedFunc(to.got[i].Data, func(a, b batchEvent) int { return strings.Compare(a.ID, b.ID) }), "as they came")
		most = max(most, len(to.got[i].Data))
	}
	require.Greater(t, most, 4)

	first := to.got[0].Data[0].ID
	require.Eventually(t, func() bool {
		var job struct {
			State    string
			Attempts []struct {
				Exchange struct {
					Status int
					Batch  struct{ ID string }
				}
			}
		}
		ask(t, http.MethodGet, url+"/jobs/"+first, "", 200, &job)
		last := len(job.Attempts) - 1
		return job.State == "succeeded" && job.Attempts[last].Exchange.Batch.ID == to.header[0].Get("webhook-id")
	}, 20*time.Second, 20*time.Millisecond)
}
