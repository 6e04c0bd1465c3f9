package webhooks_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stage is a receiver that does to each request what the script of its path says, one act
// after the other; the last act repeats. It speaks to the bare connection, so that it can
// do what no HTTP server does.
type stage struct {
	url     string
	written atomic.Int64 // bytes of bodies without an end that a sender took

	mu      sync.Mutex
	scripts map[string][]act
	came    map[string][]arrival
}

// arrival is one request as it came.
type arrival struct {
	at     time.Time
	header http.Header
	body   []byte
}

// act does something to the connection of a request that was read. When it returns the
// connection is closed.
type act func(s *stage, c net.Conn)

func openStage(t *testing.T) *stage {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	s := &stage{url: "http://" + l.Addr().String(), scripts: map[string][]act{}, came: map[string][]arrival{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			go s.perform(c)
		}
	}()
	return s
}

// play gives the URL of a path that follows a script.
func (s *stage) play(path string, script ...act) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[path] = script
	return s.url + path
}

// arrivals gives what came to a path.
func (s *stage) arrivals(path string) []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]arrival(nil), s.came[path]...)
}

func (s *stage) perform(c net.Conn) {
	defer func() { _ = c.Close() }()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	path := req.URL.Path
	s.came[path] = append(s.came[path], arrival{time.Now(), req.Header, body})
	script := s.scripts[path]
	s.mu.Unlock()
	if len(script) == 0 {
		answers(http.StatusNotImplemented)(s, c)
		return
	}
	script[min(len(s.arrivals(path)), len(script))-1](s, c)
}

// answers is a response with a status and headers, each as "Name: value".
func answers(status int, headers ...string) act {
	return says(fmt.Sprintf("HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 2\r\n%s\r\nok", status, http.StatusText(status), lines(headers)))
}

func lines(headers []string) string {
	if len(headers) == 0 {
		return ""
	}
	return strings.Join(headers, "\r\n") + "\r\n"
}

// answersAt is a response whose Retry-After is a date so far from now.
func answersAt(status int, in time.Duration) act {
	return func(s *stage, c net.Conn) {
		answers(status, "Retry-After: "+time.Now().Add(in).UTC().Format(http.TimeFormat))(s, c)
	}
}

// says sends the bytes and no more.
func says(text string) act {
	return func(_ *stage, c net.Conn) { _, _ = io.WriteString(c, text) }
}

// hangs never answers.
func hangs(_ *stage, c net.Conn) { _, _ = c.Read(make([]byte, 1)) } // until the sender has gone

// closes ends the connection without a byte.
func closes(*stage, net.Conn) {}

// resets sends the bytes and then has the connection reset.
func resets(text string) act {
	return func(_ *stage, c net.Conn) {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}

// drips sends the start at once and the rest again and again, slowly, until the sender
// has gone.
func drips(start, rest string) act {
	return func(_ *stage, c net.Conn) {
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			hangs(nil, c)
		}()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for _, err := io.WriteString(c, start); err == nil; _, err = io.WriteString(c, rest) {
			select {
			case <-gone:
				return
			case <-tick.C:
			}
		}
	}
}

// floods sends the start and then the rest without an end.
func floods(start, rest string) act {
	return func(s *stage, c net.Conn) {
		_, err := io.WriteString(c, start)
		for n := 0; err == nil; s.written.Add(int64(n)) {
			n, err = io.WriteString(c, rest)
		}
	}
}

// bomb is an answer of 1 MiB that is 1 GiB of zeros once it is unpacked: members of a gzip
// file stand one behind the other.
func bomb(t *testing.T) act {
	t.Helper()
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	_, err := w.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	packed := strings.Repeat(member.String(), 1<<10)
	return says(fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(packed), packed))
}

// issued is a certificate for a name, valid until a time, that is its own authority.
func issued(t *testing.T, name string, until time.Time) (served tls.Certificate, authority string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// overTLS is a receiver that answers 200 under a TLS of its own, and counts those who got
// through.
func overTLS(t *testing.T, cfg *tls.Config) (url string, through *atomic.Int64) {
	t.Helper()
	through = &atomic.Int64{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { through.Add(1) }))
	server.TLS = cfg
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // handshakes fail, as they should
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, through
}

// refusing is an address at which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}
