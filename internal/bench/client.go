package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"
)

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

// post sends one body and wants it created.
func post(ctx context.Context, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	_, status, answer, err := send(client, req)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("%s answered %d: %s", url, status, answer)
	}
	return err
}

// caller repeats one request over a connection of its own. It shares the cores with
// what it measures, so it does next to nothing: the request is bytes made once, and of
// the answer no more is read than its status and its end.
type caller struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

// requestOf is a POST of a body as it goes over the wire.
func requestOf(target string, body []byte) (host string, request []byte, err error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", nil, err
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", u.Path, u.Host, len(body))
	return u.Host, append([]byte(head), body...), nil
}

func dial(ctx context.Context, target string, body []byte) (*caller, error) {
	host, request, err := requestOf(target, body)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	return &caller{conn: conn, answers: bufio.NewReader(conn), request: request}, nil
}

// call sends the request and waits for the end of its answer.
func (c *caller) call() error {
	if err := c.conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	return c.skipAnswer()
}

func (c *caller) skipAnswer() error {
	status, err := c.answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	created := bytes.HasPrefix(status, []byte("HTTP/1.1 201 "))
	first := string(bytes.TrimSpace(status[:min(len(status), 64)]))
	length, err := c.skipHeader()
	if err != nil {
		return err
	}
	switch {
	case !created:
		return fmt.Errorf("answered %s", first)
	case length < 0:
		_, err = io.Copy(io.Discard, httputil.NewChunkedReader(c.answers))
		if err == nil {
			_, err = c.answers.Discard(len("\r\n")) // behind the last chunk
		}
	default:
		_, err = c.answers.Discard(length)
	}
	return err
}

// skipHeader gives the length of the body, -1 when it comes in chunks.
func (c *caller) skipHeader() (length int, err error) {
	length = -1
	for {
		line, err := c.answers.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		name, value, found := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		if !found {
			return length, nil
		}
		if string(name) == "Content-Length" {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, fmt.Errorf("read the length of an answer: %w", err)
			}
		}
	}
}

// callFor repeats a request over so many connections for a time, and gives how long
// each answer took.
func callFor(ctx context.Context, target string, body []byte, connections int, d time.Duration) (took []time.Duration, err error) {
	callers := make([]*caller, connections)
	defer func() {
		for _, c := range callers {
			if c != nil {
				_ = c.conn.Close()
			}
		}
	}()
	for i := range callers {
		if callers[i], err = dial(ctx, target, body); err != nil {
			return nil, err
		}
	}
	times, errs := make([][]time.Duration, connections), make([]error, connections)
	end := time.Now().Add(d)
	var calling sync.WaitGroup
	for i, c := range callers {
		calling.Go(func() {
			for start := time.Now(); start.Before(end) && errs[i] == nil && ctx.Err() == nil; {
				errs[i] = c.call()
				now := time.Now()
				times[i] = append(times[i], now.Sub(start))
				start = now
			}
		})
	}
	calling.Wait()
	for _, t := range times {
		took = append(took, t...)
	}
	return took, errors.Join(append(errs, ctx.Err())...)
}
