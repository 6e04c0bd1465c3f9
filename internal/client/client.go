package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ErrUnreachable says that no answer came.
var ErrUnreachable = errors.New("the server cannot be reached")

// Client sends requests to one server.
type Client struct {
	url  string
	key  string
	http http.Client
}

// New makes a client of a server by its URL. The API key may be empty.
func New(url, key string) *Client {
	return &Client{url: strings.TrimSuffix(url, "/"), key: key, http: http.Client{Timeout: time.Minute}}
}

// Problem is a refusal, as RFC 9457 has it.
type Problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s: %s", p.Status, p.Code, p.Detail)
	for _, e := range p.Errors {
		fmt.Fprintf(&b, "\n  %s %s", e.Pointer, e.Detail)
	}
	return b.String()
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// Do sends a request, with in as its JSON unless it is nil, and gives the answer: JSON, or
// nothing. Its error is a *Problem, or ErrUnreachable.
func (c *Client) Do(ctx context.Context, method, path string, in any) (json.RawMessage, error) {
	var body io.Reader
	if in != nil {
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(in); err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = &text
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: read the answer: %w", ErrUnreachable, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return answer, nil
	}
	p := &Problem{Status: resp.StatusCode}
	if err := json.Unmarshal(answer, p); err != nil || p.Code == "" {
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, path, resp.Status, answer)
	}
	return nil, p
}

// All gives the rows of a list, page by page. The path has a query.
func (c *Client) All(ctx context.Context, path string) (rows []json.RawMessage, err error) {
	for cursor := ""; ; {
		answer, err := c.Do(ctx, http.MethodGet, path+cursor, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Data []json.RawMessage `json:"data"`
			Next string            `json:"next_cursor"`
		}
		if err := json.Unmarshal(answer, &page); err != nil {
			return nil, fmt.Errorf("read a list: %w", err)
		}
		rows = append(rows, page.Data...)
		if page.Next == "" {
			return rows, nil
		}
		cursor = "&cursor=" + page.Next
	}
}
