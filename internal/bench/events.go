package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/pg"
)

// accepted is the figure of the events, with how long their answers took.
type accepted struct {
	*figure
	Answered latency `json:"answered"`
}

// benchEvents sends events over keep-alive connections to a server of this
// process; one rule matches and makes one job of each.
func benchEvents(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) (err error) {
		result := &accepted{}
		label := fmt.Sprintf("events accepted, %d connections", b.o.Connections)
		result.figure, err = s.measure(ctx, label, func(*pg.DB) (o outcome, err error) {
			err = s.withApp(ctx, app.Options{Serve: true}, func(url string) error {
				o, result.Answered, err = s.sendEvents(ctx, url)
				return err
			})
			return o, err
		})
		if err != nil {
			return err
		}
		b.report.Events = result
		b.report.latency("  answered in", result.Answered)
		return nil
	})
}

// withApp runs a process of the product here, and f once it serves.
func (s *scratch) withApp(ctx context.Context, opt app.Options, f func(url string) error) error {
	opt.Config, opt.Log, opt.Version = s.o.Config, slog.New(slog.DiscardHandler), "bench"
	opt.Config.DatabaseURL, opt.Config.DirectURL, opt.Config.Addr = s.url, "", "127.0.0.1:0"
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan string, 1)
	opt.Ready = func(url string) { ready <- url }
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, opt) }()
	select {
	case url := <-ready:
		err := f(url)
		stop()
		return errors.Join(err, <-ended)
	case err := <-ended:
		return errors.Join(errors.New("the server ended early"), err)
	}
}

func (s *scratch) sendEvents(ctx context.Context, url string) (outcome, latency, error) {
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: s.o.Connections}}
	defer client.CloseIdleConnections()
	rule := `{"name":"bench","pattern":{"type":["bench.event"]},"actions":[{"kind":"log","payload":{"message":"bench"},"queue":"bench"}]}`
	if _, err := post(ctx, client, url+"/rules", []byte(rule)); err != nil {
		return outcome{}, latency{}, err
	}
	event := []byte(`{"type":"bench.event","data":{"text":"` + strings.Repeat("x", 950) + `"}}`)
	var mu sync.Mutex
	var took []time.Duration
	start := time.Now()
	deadline := start.Add(time.Duration(s.o.Seconds) * time.Second)
	errs := make([]error, s.o.Connections)
	var sending sync.WaitGroup
	for i := range s.o.Connections {
		sending.Go(func() {
			var mine []time.Duration
			for time.Now().Before(deadline) && errs[i] == nil {
				var t time.Duration
				if t, errs[i] = post(ctx, client, url+"/events", event); errs[i] == nil {
					mine = append(mine, t)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	sending.Wait()
	return outcome{timed: len(took), took: time.Since(start), jobs: len(took)}, latencyOf(took), errors.Join(errs...)
}

func post(ctx context.Context, client *http.Client, url string, body []byte) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	took, status, answer, err := send(client, req)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("%s answered %d: %s", url, status, answer)
	}
	return took, err
}

// send sends a request and reads the whole answer.
func send(client *http.Client, req *http.Request) (took time.Duration, status int, answer []byte, err error) {
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, nil, err
	}
	answer, err = io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return time.Since(start), resp.StatusCode, answer, err
}
