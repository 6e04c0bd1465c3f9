package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/signalstack/signalstack/internal/app"
)

// benchEvents sends events over keep-alive connections to a server of this
// process; one rule matches and makes one job of each.
func benchEvents(ctx context.Context, s *scratch, o Options) error {
	cfg := o.Config
	cfg.DatabaseURL, cfg.Addr = s.url, "127.0.0.1:0"
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{
			Config: cfg, Log: slog.New(slog.DiscardHandler), Version: "bench", Serve: true,
			Ready: func(url string) { ready <- url },
		})
	}()
	var url string
	select {
	case url = <-ready:
	case err := <-ended:
		return errors.Join(errors.New("the server ended early"), err)
	}
	if err := s.sendEvents(ctx, url, o); err != nil {
		return err
	}
	stop()
	return <-ended
}

func (s *scratch) sendEvents(ctx context.Context, url string, o Options) error {
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: o.Connections}}
	rule := `{"name":"bench","pattern":{"type":["bench.event"]},"actions":[{"kind":"log","payload":{"message":"bench"},"queue":"bench"}]}`
	if _, err := post(ctx, client, url+"/rules", []byte(rule)); err != nil {
		return err
	}
	event := []byte(`{"type":"bench.event","data":{"text":"` + strings.Repeat("x", 950) + `"}}`)
	var mu sync.Mutex
	var took []time.Duration
	err := s.measure(ctx, o, fmt.Sprintf("events accepted, %d connections", o.Connections), func() (int, error) {
		deadline := time.Now().Add(time.Duration(o.Seconds) * time.Second)
		errs := make([]error, o.Connections)
		var sending sync.WaitGroup
		for i := range o.Connections {
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
		return len(took), errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	slices.Sort(took)
	at := func(p float64) float64 { return float64(took[int(p*float64(len(took)-1))].Microseconds()) / 1000 }
	fmt.Fprintf(o.Out, "%-34s p50 %.1f ms, p95 %.1f ms, p99 %.1f ms\n", "  answered in", at(0.50), at(0.95), at(0.99))
	return nil
}

func post(ctx context.Context, client *http.Client, url string, body []byte) (time.Duration, error) {
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	answer, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("%s answered %s: %s", url, resp.Status, answer)
	}
	return time.Since(start), nil
}
