package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// client speaks to the API as any user does.
type client struct {
	url  string
	key  string // API key; "" when none is needed
	http http.Client
}

func newClient(url, key string) *client {
	return &client{url: url, key: key, http: http.Client{Timeout: 15 * time.Second}}
}

// call sends in as JSON, unless it is nil, and decodes the answer into out.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false) // a payload must be sent as it is
		if err := enc.Encode(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return c.send(ctx, method, path, &body, http.Header{"Content-Type": {"application/json"}}, out)
}

// send sends a body as it is and decodes the answer into out.
func (c *client) send(ctx context.Context, method, path string, body io.Reader, header http.Header, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header = header
	if c.key != "" && req.Header.Get("Authorization") == "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// endpoint is what the demo needs of an endpoint.
type endpoint struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// source is what the demo needs of a source.
type source struct {
	Path string `json:"path"`
}

// received is the answer to a webhook that came in.
type received struct {
	EventID string `json:"event_id"`
}

// event is what the demo needs of an event.
type event struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Subject string `json:"subject"`
	Jobs    []job  `json:"jobs"`
}

// job is what the demo needs of a job.
type job struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	State     string `json:"state"`
	LastError string `json:"last_error"`
}

// summary is what the demo shows of the analytics.
type summary struct {
	Events int64 `json:"events"`
	Jobs   struct {
		Created   int64 `json:"created"`
		Succeeded int64 `json:"succeeded"`
		Failed    int64 `json:"failed"`
	} `json:"jobs"`
	SuccessRate *float64 `json:"success_rate"`
	DurationMS  struct {
		P50 *float64 `json:"p50"`
		P95 *float64 `json:"p95"`
		P99 *float64 `json:"p99"`
	} `json:"duration_ms"`
}
