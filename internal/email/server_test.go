package email_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

const (
	user     = "ada"
	password = "pa/ss:w@rd"
)

// mailServer is a real SMTP server that keeps what it is sent.
type mailServer struct {
	addr string

	mu   sync.Mutex
	kept []envelope

	// The answers to each step; nil says yes. They are set before the server starts.
	onMail func() error
	onRcpt func(to string) error
	onData func() error
	// onStep is asked at mail and data, with the number of the message on its connection.
	onStep func(step string, message int, c *smtp.Conn) error

	conns, open, most int // connections that came, are open, and were open at once

	tls      *tls.Config // STARTTLS is offered
	implicit bool        // TLS from the first byte
	login    bool        // AUTH PLAIN is asked for
	utf8     bool        // SMTPUTF8 is offered
}

// envelope is one message as the server took it.
type envelope struct {
	from, user string
	utf8       bool
	to         []string
	raw        []byte
}

func (s *mailServer) start(t testing.TB) *mailServer {
	t.Helper()
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns++
		s.open++
		s.most = max(s.most, s.open)
		if s.login {
			return &authSession{session{server: s, conn: c}}, nil
		}
		return &session{server: s, conn: c}, nil
	}))
	server.EnableSMTPUTF8 = s.utf8
	server.Domain, server.ErrorLog, server.AllowInsecureAuth = "localhost", silent{}, true
	listener := listen(t)
	s.addr = listener.Addr().String()
	if s.implicit {
		listener = tls.NewListener(listener, s.tls)
	} else {
		server.TLSConfig = s.tls
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close() // the server knows its listener only once it serves
		<-done
	})
	return s
}

// silent drops what the server says of the connections that the tests break.
type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// plainURL names the server as one without TLS.
func (s *mailServer) plainURL() string { return "smtp://" + s.addr + "?tls=none" }

func (s *mailServer) all() []envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

// counted gives the connections that came, are open, and were open at once.
func (s *mailServer) counted() (conns, open, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns, s.open, s.most
}

// only gives the one message that must have come.
func (s *mailServer) only(t *testing.T) envelope {
	t.Helper()
	all := s.all()
	require.Len(t, all, 1)
	return all[0]
}

type session struct {
	server   *mailServer
	conn     *smtp.Conn
	messages int
	now      envelope
}

func (s *session) Reset() { s.now = envelope{user: s.now.user} }
func (s *session) Logout() error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.open--
	return nil
}

func (s *session) Mail(from string, options *smtp.MailOptions) error {
	s.messages++
	s.now.from, s.now.utf8 = from, options.UTF8
	if s.server.onStep != nil {
		if err := s.server.onStep("mail", s.messages, s.conn); err != nil {
			return err
		}
	}
	if s.server.onMail != nil {
		return s.server.onMail()
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.now.to = append(s.now.to, to)
	if s.server.onRcpt != nil {
		return s.server.onRcpt(to)
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.server.onStep != nil {
		if err := s.server.onStep("data", s.messages, s.conn); err != nil {
			return err
		}
	}
	if s.server.onData != nil {
		if err := s.server.onData(); err != nil {
			return err
		}
	}
	s.now.raw = raw
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.kept = append(s.server.kept, s.now)
	return nil
}

type authSession struct{ session }

func (s *authSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *authSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, secret string) error {
		if name != user || secret != password {
			return errors.New("no")
		}
		s.now.user = name
		return nil
	}), nil
}

// reply is an answer of the server.
func reply(code int) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: "so it is"}
}

// speak answers each connection by hand: greeting first, then one answer for each
// line that it knows the start of. "hang" answers nothing, "close" cuts.
func speak(t *testing.T, greeting string, answers map[string]string) string {
	t.Helper()
	listener := listen(t)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() }) // it may be kept open for the next message
			wg.Go(func() { converse(conn, greeting, answers) })
		}
	})
	return listener.Addr().String()
}

func converse(conn net.Conn, greeting string, answers map[string]string) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	answer, buf := greeting, make([]byte, 64<<10)
	for {
		switch answer {
		case "close":
			return
		case "hang", "":
		default:
			_, _ = fmt.Fprint(conn, answer+"\r\n")
		}
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		answer = ""
		for start, a := range answers {
			if strings.HasPrefix(string(buf[:n]), start) || start == "." && bytes.HasSuffix(buf[:n], []byte("\r\n.\r\n")) {
				answer = a
			}
		}
	}
}

// certify makes a certificate for 127.0.0.1 and the pool that trusts it.
func certify(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, pool
}

// opened is a message with its parts decoded, by media type.
type opened struct {
	mail.Header
	parts map[string]string
}

func (e envelope) open(t *testing.T) opened {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(e.raw))
	require.NoError(t, err)
	o := opened{Header: m.Header, parts: map[string]string{}}
	media, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	if media != "multipart/alternative" {
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		require.NoError(t, err)
		// The dot that ends a message stands on a line of its own.
		o.parts[media] = strings.TrimSuffix(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n")
		return o
	}
	for reader := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return o
		}
		require.NoError(t, err)
		body, err := io.ReadAll(part)
		require.NoError(t, err)
		media, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		require.NoError(t, err)
		o.parts[media] = strings.ReplaceAll(string(body), "\r\n", "\n")
	}
}

// decoded gives a header with its encoded words read.
func (o opened) decoded(t *testing.T, name string) string {
	t.Helper()
	text, err := new(mime.WordDecoder).DecodeHeader(o.Get(name))
	require.NoError(t, err)
	return text
}
