package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// What the receiver does with a request, by its path.
const (
	pathHealthy = "/healthy/" // with the endpoint's number; answered 204
	pathHang    = "/hang"
	path500     = "/500"
	path429     = "/429"
	path429Wait = "/429-retry-after"
)

const (
	// verifyEvery is which part of the signatures is verified: the receiver shares the
	// cores with what is measured.
	verifyEvery = 50
	// retryAfter is what the receiver asks for, in seconds: short, so that the breaker
	// has to probe often.
	retryAfter = "2"
)

// receiver is a customer's server on this machine. It notes when each numbered event
// arrived for the first time.
type receiver struct {
	url    string
	server *http.Server

	mu      sync.Mutex
	secrets map[string]*standardwebhooks.Webhook // by path
	came    map[int]time.Time                    // by the event's number
	last    time.Time
	repeats int
	broken  int // requests to paths that are not healthy
	wrong   error
}

func startReceiver(ctx context.Context) (*receiver, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	r := &receiver{url: "http://" + l.Addr().String(), secrets: map[string]*standardwebhooks.Webhook{}, came: map[int]time.Time{}}
	r.server = &http.Server{Handler: http.HandlerFunc(r.receive), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.server.Serve(l) }() // ends by Close
	return r, nil
}

// expect tells the receiver the secret of a path.
func (r *receiver) expect(path, secret string) error {
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("read the secret of %s: %w", path, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[path] = verifier
	return nil
}

func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(req.Body)
	switch req.URL.Path {
	case pathHang:
		r.refused()
		<-req.Context().Done()
	case path500:
		r.refused()
		w.WriteHeader(http.StatusInternalServerError)
	case path429Wait:
		w.Header().Set("Retry-After", retryAfter)
		fallthrough
	case path429:
		r.refused()
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		w.WriteHeader(http.StatusNoContent)
		r.note(at, req, body, err)
	}
}

func (r *receiver) refused() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken++
}

// note takes in a delivery, and verifies some.
func (r *receiver) note(at time.Time, req *http.Request, body []byte, err error) {
	n, numbered := numberIn(body)
	r.mu.Lock()
	verifier := r.secrets[req.URL.Path]
	_, repeated := r.came[n]
	switch {
	case err == nil && !numbered:
		err = fmt.Errorf("a webhook without a number arrived: %.200s", body)
	case repeated:
		r.repeats++
	default:
		r.came[n], r.last = at, at
	}
	r.wrong = errors.Join(r.wrong, err)
	r.mu.Unlock()
	if n%verifyEvery != 0 {
		return
	}
	if err := verifier.Verify(body, req.Header); err != nil {
		r.mu.Lock()
		r.wrong = errors.Join(r.wrong, fmt.Errorf("the signature of event %d: %w", n, err))
		r.mu.Unlock()
	}
}

// numberMark stands before the number of an event, which has numberDigits digits.
var numberMark = []byte(`"n":"`)

const numberDigits = 12

func numberIn(body []byte) (n int, ok bool) {
	_, rest, found := bytes.Cut(body, numberMark)
	if !found || len(rest) < numberDigits {
		return 0, false
	}
	n, err := strconv.Atoi(string(rest[:numberDigits]))
	return n, err == nil
}

// arrived is how many events have arrived, and whether something was wrong with one.
func (r *receiver) arrived() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.came), r.wrong
}

// refusals is how many requests were made to paths that are not healthy.
func (r *receiver) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken
}
