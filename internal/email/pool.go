package email

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"sync"
	"time"
)

// Bounds of the connections to the mail server that the URL does not set.
const (
	maxConns    = 10               // open at once
	maxMessages = 100              // over one connection; servers close it after some hundred
	maxIdle     = 15 * time.Second // servers wait five minutes (RFC 5321, section 4.5.3.2.7), balancers less
)

// pool keeps connections open between messages, as a handshake with TLS and a login
// cost more than a message. A message has a connection for itself.
type pool struct {
	server *server
	free   chan struct{} // one place for each connection that may be open

	mu   sync.Mutex
	idle []*conn // the last one was used last
}

func newPool(s *server) *pool { return &pool{server: s, free: make(chan struct{}, s.conns)} }

// send sends an envelope over a kept connection or a new one, and ends with ctx. A
// kept one may have ended unnoticed: when it fails before the message was in full on
// its way, the message is sent over a new one. After that nobody knows whether the
// server took it, so whether it is sent again is for the next attempt.
func (p *pool) send(ctx context.Context, e envelope) (string, error) {
	select {
	case p.free <- struct{}{}:
		defer func() { <-p.free }()
	case <-ctx.Done():
		return "", fmt.Errorf("wait for one of %d connections to the mail server: %w", cap(p.free), context.Cause(ctx))
	}
	if c := p.take(); c != nil {
		answer, err := p.sendOver(ctx, c, e)
		if _, again := errors.AsType[*unsentError](err); !again || ctx.Err() != nil {
			return answer, err
		}
	}
	c, err := p.server.connect(ctx)
	if err != nil {
		return "", fmt.Errorf("connect to the mail server: %w", p.server.conceal(err))
	}
	return p.sendOver(ctx, c, e)
}

// sendOver makes one transaction and keeps the connection if it is good for another.
func (p *pool) sendOver(ctx context.Context, c *conn, e envelope) (string, error) {
	watched := c.watch(ctx)
	answer, err := c.deliver(e)
	c.messages++
	usable := err == nil || replyOf(err) != nil && !isGoodbye(err) && c.reset()
	switch intact := watched(); {
	case !intact || !usable:
		c.close()
	case c.messages >= p.server.messages:
		c.quit()
	default:
		p.keep(c)
	}
	return answer, err
}

// take gives the connection that was used last, or nil.
func (p *pool) take() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	c.expiry.Stop()
	return c
}

// keep holds a connection for the next message, and ends it when none comes.
func (p *pool) keep(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
	c.expiry = time.AfterFunc(p.server.idle, func() {
		p.mu.Lock()
		i := slices.Index(p.idle, c)
		if i >= 0 {
			p.idle = slices.Delete(p.idle, i, i+1)
		}
		p.mu.Unlock()
		if i >= 0 { // else a message has it
			c.quit()
		}
	})
}

// unsentError is a failure of the connection, or the server's goodbye, before the
// message was in full on its way.
type unsentError struct{ error }

// Unwrap gives the failure itself.
func (e *unsentError) Unwrap() error { return e.error }

// isGoodbye tells the answer of a server that closes the connection (RFC 5321,
// section 3.8).
func isGoodbye(err error) bool {
	reply, ok := errors.AsType[*textproto.Error](err)
	return ok && reply.Code == 421
}
