package outbound_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

func post(t *testing.T, client *outbound.Client, url, body string) *jobs.Exchange {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, exchange, _ := client.Do(ctx, outbound.Request{Method: http.MethodPost, URL: url, Body: []byte(body)})
	return exchange
}

func TestTimesAndAddressAreOnRecord(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	client := outbound.NewClient(guard(t, true), "test")
	first := post(t, client, url, "x")
	require.Equal(t, strings.TrimPrefix(url, "http://"), first.RemoteAddress)
	require.Equal(t, "HTTP/1.1", first.Protocol)
	require.False(t, first.Timings.Reused)
	require.Positive(t, first.Timings.Connect)
	require.Positive(t, first.Timings.FirstByte)
	require.GreaterOrEqual(t, first.Timings.Total, first.Timings.FirstByte)
	require.Empty(t, first.ErrorClass)
	require.Empty(t, first.RequestBody, "what went well is not kept twice")

	again := post(t, client, url, "x")
	require.True(t, again.Timings.Reused)
	require.Zero(t, again.Timings.Connect)
	require.Equal(t, first.RemoteAddress, again.RemoteAddress)
}

func TestBodyOfFailedRequestIsOnRecord(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	client := outbound.NewClient(guard(t, true), "test")
	require.Equal(t, `{"a":1}`, post(t, client, url, `{"a":1}`).RequestBody)
	require.Len(t, post(t, client, url, strings.Repeat("x", 1<<20)).RequestBody, 16<<10)
}

// raw answers each connection with what handle does to it.
func raw(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_, _ = conn.Read(make([]byte, 1)) // the request has come
				handle(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func TestErrorsHaveAClass(t *testing.T) {
	t.Parallel()
	closed := raw(t, func(net.Conn) {})
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	t.Cleanup(old.Close)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	plain := receiver(t, func(http.ResponseWriter, *http.Request) {})
	for want, urls := range map[string][]string{
		outbound.ClassDNS:     {"http://no-such-name.invalid/"},
		outbound.ClassRefused: {"http://" + l.Addr().String()},
		outbound.ClassReset: {
			"http://" + closed,
			"http://" + raw(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }),
		},
		outbound.ClassTLS: {untrusted.URL, old.URL, strings.Replace(plain, "http:", "https:", 1)},
		outbound.ClassProtocol: {
			"http://" + raw(t, func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n\r\n")) }),
			"http://" + raw(t, func(c net.Conn) {
				_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nBig: " + strings.Repeat("x", 100<<10) + "\r\n\r\n"))
				_, _ = c.Read(make([]byte, 1<<10)) // until the client has read it and hangs up
				_, _ = c.Read(make([]byte, 1<<10))
			}),
		},
	} {
		for _, url := range urls {
			exchange := post(t, outbound.NewClient(guard(t, true), "test"), url, "x")
			require.Equal(t, want, exchange.ErrorClass, url)
			require.Zero(t, exchange.Status)
			require.Positive(t, exchange.Timings.Total)
			require.Equal(t, "x", exchange.RequestBody)
		}
	}
	require.Equal(t, outbound.ClassBlocked, post(t, outbound.NewClient(guard(t, false), "test"), plain, "x").ErrorClass)
}

func TestTimeoutsHaveAClass(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url := receiver(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, exchange, err := outbound.NewClient(guard(t, true), "test").Do(ctx, outbound.Request{Method: http.MethodGet, URL: url})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, outbound.ClassTimeout, exchange.ErrorClass)
	require.GreaterOrEqual(t, exchange.Timings.Total, 100.0)
}

func TestDrippingBodyIsLeft(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // a byte now and then, for as long as somebody reads
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	exchange := post(t, outbound.NewClient(guard(t, true), "test"), url, "x")
	require.Equal(t, 200, exchange.Status, "the status came, and it counts")
	require.True(t, exchange.Truncated)
	require.NotEmpty(t, exchange.Body)
	require.Less(t, exchange.Timings.Total, 25_000.0)
}
