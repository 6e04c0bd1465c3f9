package outbound

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signalstack/signalstack/internal/jobs"
)

// Limits of an answer.
const (
	maxKept    = 16 << 10  // bytes of a body that are put on record
	maxDrained = 256 << 10 // bytes that are read so that the connection can be used again
	maxHeaders = 64 << 10
	maxShown   = 50 // headers that are put on record

	// maxIdle and maxIdlePerHost bound the connections that are kept for the next request.
	// Fewer for a host than the slots of a worker would have a busy receiver dialed anew,
	// with a TLS handshake, for many of its webhooks.
	maxIdle        = 500
	maxIdlePerHost = 100

	// bodyTime is how long a response's body may take. Its status has come and decides;
	// a body that drips would hold a slot for the whole time of the attempt.
	bodyTime = 5 * time.Second
)

// Client sends requests for jobs. It is safe for concurrent use.
type Client struct {
	http      *http.Client
	own       ownClients
	guard     *Guard
	userAgent string
}

// NewClient makes a client that reaches what the guard allows.
func NewClient(guard *Guard, version string) *Client {
	c := &Client{guard: guard, userAgent: "SignalStack/" + version, own: ownClients{byName: map[[sha256.Size]byte]*http.Client{}}}
	c.http = c.create(&tls.Config{MinVersion: tls.VersionTLS12})
	return c
}

func (c *Client) create(cfg *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy of the environment would dial in our place
			DialContext:            c.guard.dial,
			TLSClientConfig:        cfg,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    dialTimeout,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdlePerHost,
			IdleConnTimeout:        60 * time.Second,
			MaxResponseHeaderBytes: maxHeaders,
			DisableCompression:     true, // an answer is kept as it came, and no bomb unpacked
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// HTTP gives the guarded client for libraries that make requests of their own.
func (c *Client) HTTP(t TLS) (*http.Client, error) {
	if t == (TLS{}) {
		return c.http, nil
	}
	return c.own.get(t, c.create)
}

// Request is what to send. The body is sent as it is.
type Request struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
	// Hidden names headers whose values are secrets; they stay out of the record.
	Hidden []string
	TLS    TLS
	// Read is how many bytes of the response's body are given back.
	Read int
	// KeepBody puts the body on record although all goes well.
	KeepBody bool
}

// Response is what came back.
type Response struct {
	Status     int
	RetryAfter time.Duration // what the receiver asked for; 0: nothing
	Header     http.Header
	Body       []byte // as long as the request's Read allows
	BodyErr    error  // nil: Body is all of it
}

// ErrBodyTooLarge says that a response has more than was to be read.
var ErrBodyTooLarge = errors.New("the response is too large")

// Do sends a request once. The exchange is for the attempt's record and there also
// when the request failed; a nil error says only that a status came.
func (c *Client) Do(ctx context.Context, r Request) (Response, *jobs.Exchange, error) {
	exchange := &jobs.Exchange{Method: r.Method, URL: hideInURL(r.URL), RequestHeaders: shown(r.Header, r.Hidden)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx, watch := startWatch(ctx)
	defer watch.stop(exchange)
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Response{}, exchange, jobs.Permanent(fmt.Errorf("make the request: %w", HideInError(err)))
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	client, err := c.HTTP(r.TLS)
	if err != nil {
		return Response{}, exchange, jobs.Permanent(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		exchange.ErrorClass, exchange.RequestBody = classOf(err), hideInBody(beginning(r.Body), r.Header)
		return Response{}, exchange, failure(HideInError(err))
	}
	defer func() { _ = resp.Body.Close() }()
	exchange.Protocol, exchange.Status, exchange.Headers = resp.Proto, resp.StatusCode, shown(resp.Header, nil)
	if r.Read == 0 { // the status decides
		slow := time.AfterFunc(bodyTime, cancel)
		defer slow.Stop()
	}
	body, err := readBody(resp.Body, max(r.Read, maxKept))
	exchange.Body, exchange.Truncated = keep(body, err)
	exchange.Body = hideInBody(exchange.Body, resp.Header)
	if r.KeepBody || resp.StatusCode < 200 || resp.StatusCode > 299 {
		exchange.RequestBody = hideInBody(beginning(r.Body), r.Header)
	}
	response := Response{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now()), Header: resp.Header}
	if response.Body, response.BodyErr = body, err; err == nil && len(body) > r.Read {
		response.Body, response.BodyErr = body[:r.Read], ErrBodyTooLarge
	}
	return response, exchange, nil
}

// beginning gives the first bytes of a body, for the record.
func beginning(body []byte) string {
	if len(body) > maxKept {
		body = wholeRunes(body[:maxKept])
	}
	return strings.ToValidUTF8(string(body), "\uFFFD")
}

// failure tells a request that was blocked, which stays so, from one that went
// wrong.
func failure(err error) error {
	if errors.Is(err, errBlocked) {
		return jobs.Permanent(err)
	}
	return err
}

// readBody reads the start of a body, of so many bytes. A body that breaks off takes
// nothing from the status that came before it.
func readBody(body io.Reader, most int) ([]byte, error) {
	start, err := io.ReadAll(io.LimitReader(body, int64(most)+1))
	if err == nil && len(start) > most {
		start, err = start[:most], ErrBodyTooLarge
		_, _ = io.Copy(io.Discard, io.LimitReader(body, maxDrained))
	}
	return start, err
}

// keep gives what is put on record of a body, as text, and whether there was more.
func keep(body []byte, err error) (text string, truncated bool) {
	if len(body) > maxKept {
		body, err = body[:maxKept], ErrBodyTooLarge
	}
	if err != nil {
		body = wholeRunes(body)
	}
	return strings.ToValidUTF8(string(body), "\uFFFD"), err != nil
}

// wholeRunes drops a character that was cut in two at the end.
func wholeRunes(b []byte) []byte {
	for range utf8.UTFMax - 1 {
		if r, size := utf8.DecodeLastRune(b); r != utf8.RuneError || size != 1 {
			break
		}
		b = b[:len(b)-1]
	}
	return b
}
