package pg

import (
	"context"
	"net"
	"time"
)

// dialer makes connections whose reads end. lib/pq blocks in Read for as long as
// the peer is silent, whatever the context says (lib/pq issue 450).
type dialer struct {
	timeout     time.Duration
	readTimeout time.Duration // 0: none
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialTimeout(network, address, d.timeout)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: 15 * time.Second}
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil || d.readTimeout == 0 {
		return conn, err
	}
	return &deadlineConn{Conn: conn, readTimeout: d.readTimeout}, nil
}

type deadlineConn struct {
	net.Conn
	readTimeout time.Duration
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.readTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *deadlineConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.readTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
