package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// server is the operator's mail server.
type server struct {
	host           string
	port           int
	user, password string // "": no login
	security       security
	roots          *x509.CertPool // nil: the system's
	conns          int            // open at once
	messages       int            // over one connection
	idle           time.Duration  // that a connection is kept
}

type security string

const (
	plain    security = "none"
	startTLS security = "starttls"
	implicit security = "implicit"
)

// parseURL reads smtp://user:password@host:587, with ?tls=none for a server without
// TLS, or smtps://host:465; ?connections=N bounds those that are open at once. Its errors repeat nothing of the URL, which may hold a
// password wherever it is wrong.
func parseURL(text string) (*server, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, errors.New("must be smtp://user:password@host:port or smtps://..., with special characters of the password as %XX")
	}
	s := &server{host: u.Hostname(), user: u.User.Username(), conns: maxConns, messages: maxMessages, idle: maxIdle}
	s.password, _ = u.User.Password()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("takes no options but " + urlOptions)
	}
	if s.security, s.port, err = securityOf(u.Scheme, query.Get("tls")); err != nil {
		return nil, err
	}
	if given := query.Get("connections"); given != "" {
		if s.conns, err = strconv.Atoi(given); err != nil || s.conns < 1 || s.conns > 1000 {
			return nil, errors.New("connections must be 1 to 1000")
		}
	}
	delete(query, "tls")
	delete(query, "connections")
	if len(query) > 0 {
		return nil, errors.New("takes no options but " + urlOptions)
	}
	if u.Port() != "" {
		if s.port, err = strconv.Atoi(u.Port()); err != nil || s.port < 1 || s.port > 65535 {
			return nil, errors.New("the port must be 1 to 65535")
		}
	}
	if (s.user == "") != (s.password == "") {
		return nil, errors.New("needs both a user and a password, or neither")
	}
	return s, nil
}

// urlOptions are what a URL may say after its ?.
const urlOptions = "tls=none, tls=starttls and connections=N"

// securityOf gives the security and the port that goes with it.
func securityOf(scheme, wish string) (security, int, error) {
	switch {
	case scheme == "smtps" && wish == "":
		return implicit, 465, nil
	case scheme == "smtp" && wish == string(plain):
		return plain, 25, nil
	case scheme == "smtp" && (wish == "" || wish == string(startTLS)):
		return startTLS, 587, nil
	}
	return "", 0, errors.New("must begin with smtp:// (tls=none or tls=starttls) or smtps://")
}

// quitTime is how long the server may take for what no message waits for.
const quitTime = 2 * time.Second

// conn is a connection that is ready for a message.
type conn struct {
	net      net.Conn
	session  *smtp.Client
	messages int         // that were tried over it
	expiry   *time.Timer // while it is idle
}

// watch ends the connection with ctx, from within which the message is sent. The
// function that it gives ends the watch and says whether the connection is intact.
func (c *conn) watch(ctx context.Context) func() bool {
	stop := context.AfterFunc(ctx, c.close)
	// ctx ends first and says why.
	if c.session.UpdateDeadline(patience(ctx)) != nil {
		c.close()
	}
	return stop
}

func (c *conn) close() { _ = c.net.Close() }

// reset ends a transaction that was refused, and says whether another may follow.
func (c *conn) reset() bool {
	return c.session.UpdateDeadline(quitTime) == nil && c.session.Reset() == nil
}

// quit says goodbye. Whatever the server answers, its messages' fate is known.
func (c *conn) quit() {
	if c.session.UpdateDeadline(quitTime) == nil {
		_ = c.session.Quit()
	}
	c.close()
}

// connect makes a connection. go-mail does not watch ctx once it is connected and
// leaves the connection open when a later step fails, so it is made and closed here.
func (s *server) connect(ctx context.Context) (*conn, error) {
	raw, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{net: raw}
	stop := context.AfterFunc(ctx, c.close)
	client, err := gomail.NewClient(s.host, s.options(ctx, raw)...)
	if err == nil {
		c.session, err = client.DialToSMTPClientWithContext(ctx)
	}
	if intact := stop(); err == nil && !intact {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// patience is a little more than ctx has left.
func patience(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return timeout
	}
	return max(time.Until(deadline), 0) + time.Second
}

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	dialer, address := &net.Dialer{}, net.JoinHostPort(s.host, strconv.Itoa(s.port))
	if s.security == implicit {
		return (&tls.Dialer{NetDialer: dialer, Config: s.tls()}).DialContext(ctx, "tcp", address)
	}
	return dialer.DialContext(ctx, "tcp", address)
}

func (s *server) tls() *tls.Config {
	return &tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

func (s *server) options(ctx context.Context, conn net.Conn) []gomail.Option {
	policy := gomail.NoTLS
	if s.security == startTLS {
		policy = gomail.TLSMandatory
	}
	options := []gomail.Option{
		gomail.WithTimeout(patience(ctx)), gomail.WithTLSConfig(s.tls()), gomail.WithTLSPolicy(policy),
		gomail.WithDialContextFunc(func(context.Context, string, string) (net.Conn, error) { return conn, nil }),
	}
	if s.user == "" {
		return options
	}
	// Under TLS the password itself is what every server takes; without, the ways
	// that do not show it come first.
	mechanisms := []gomail.SMTPAuthType{gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthCramMD5}
	if s.security == plain {
		mechanisms = []gomail.SMTPAuthType{gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthCramMD5, gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc}
	}
	return append(options, gomail.WithUsername(s.user), gomail.WithPassword(s.password), gomail.WithOpportunisticSMTPAuth(mechanisms...))
}

// conceal keeps the password out of an error, should a server repeat what it was
// sent.
func (s *server) conceal(err error) error {
	if s.password == "" {
		return err
	}
	for _, sent := range []string{s.password, "\x00" + s.user + "\x00" + s.password} {
		for _, form := range []string{sent, base64.StdEncoding.EncodeToString([]byte(sent))} {
			if strings.Contains(err.Error(), form) {
				return errors.New("the server refused the login, and its answer is left out because it holds the password")
			}
		}
	}
	return err
}
