package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Delivery is one webhook that arrived.
type Delivery struct {
	ID   string // webhook-id
	Path string
	Type string
	Data json.RawMessage
	Err  error // why it is not right; nil when the signature verified
}

// Receiver is an HTTP server that verifies webhooks as a customer would.
type Receiver struct {
	// Received is called for each delivery, one at a time; may be nil.
	Received func(Delivery)

	server *http.Server
	url    string
	mu     sync.Mutex
	secret map[string]string // by path
	got    map[string][]Delivery
	change chan struct{}
}

// StartReceiver listens on a free port of this machine.
func StartReceiver(ctx context.Context, received func(Delivery)) (*Receiver, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	r := &Receiver{
		Received: received, url: "http://" + l.Addr().String(),
		secret: map[string]string{}, got: map[string][]Delivery{}, change: make(chan struct{}, 1),
	}
	r.server = &http.Server{Handler: http.HandlerFunc(r.receive), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.server.Serve(l) }()
	return r, nil
}

// Close stops the receiver.
func (r *Receiver) Close() error { return r.server.Close() }

// URL gives the address of a path.
func (r *Receiver) URL(path string) string { return r.url + path }

// Expect tells the receiver the secret of a path.
func (r *Receiver) Expect(path, secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret[path] = secret
}

// Deliveries gives what arrived under a webhook-id.
func (r *Receiver) Deliveries(id string) []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Delivery(nil), r.got[id]...)
}

// Changed gets a token when something arrived.
func (r *Receiver) Changed() <-chan struct{} { return r.change }

func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 16<<20))
	r.mu.Lock()
	defer r.mu.Unlock()
	d := Delivery{ID: req.Header.Get(standardwebhooks.HeaderWebhookID), Path: req.URL.Path, Err: err}
	if d.Err == nil {
		d.Err = r.verify(&d, body, req.Header)
	}
	r.got[d.ID] = append(r.got[d.ID], d)
	if r.Received != nil {
		r.Received(d)
	}
	select {
	case r.change <- struct{}{}:
	default:
	}
	if d.Err != nil {
		http.Error(w, d.Err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *Receiver) verify(d *Delivery, body []byte, header http.Header) error {
	wh, err := standardwebhooks.NewWebhook(r.secret[d.Path])
	if err != nil {
		return fmt.Errorf("read the secret: %w", err)
	}
	if err := wh.Verify(body, header); err != nil {
		return err
	}
	var envelope struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	d.Type, d.Data = envelope.Type, envelope.Data
	return nil
}
