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
}

type security string

const (
	plain    security = "none"
	startTLS security = "starttls"
	implicit security = "implicit"
)

// parseURL reads smtp://user:password@host:587, with ?tls=none for a server without
// TLS, or smtps://host:465. Its errors repeat nothing of the URL, which may hold a
// password wherever it is wrong.
func parseURL(text string) (*server, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, errors.New("must be smtp://user:password@host:port or smtps://..., with special characters of the password as %XX")
	}
	s := &server{host: u.Hostname(), user: u.User.Username()}
	s.password, _ = u.User.Password()
	if s.security, s.port, err = securityOf(u); err != nil {
		return nil, err
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

// securityOf gives the security and the port that goes with it.
func securityOf(u *url.URL) (security, int, error) {
	query, err := url.ParseQuery(u.RawQuery)
	wish := query.Get("tls")
	delete(query, "tls")
	switch {
	case err != nil || len(query) > 0:
		return "", 0, errors.New("takes no option but tls=none and tls=starttls")
	case u.Scheme == "smtps" && wish == "":
		return implicit, 465, nil
	case u.Scheme == "smtp" && wish == string(plain):
		return plain, 25, nil
	case u.Scheme == "smtp" && (wish == "" || wish == string(startTLS)):
		return startTLS, 587, nil
	}
	return "", 0, errors.New("must begin with smtp:// (tls=none or tls=starttls) or smtps://")
}

// quitTime is how long the server may take to say goodbye to a settled message.
const quitTime = 2 * time.Second

// connect gives a session that is ready for a message, and what ends it. go-mail
// does not watch ctx once it is connected and leaves the connection open when a
// later step fails, so the connection is made and closed here.
func (s *server) connect(ctx context.Context) (*smtp.Client, func(), error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	hangUp := func() {
		stop()
		_ = conn.Close()
	}
	client, err := gomail.NewClient(s.host, s.options(ctx, conn)...)
	if err != nil {
		hangUp()
		return nil, nil, err
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		hangUp()
		return nil, nil, err
	}
	return session, func() {
		if session.UpdateDeadline(quitTime) == nil {
			_ = session.Quit() // whatever it answers, the message's fate is known
		}
		hangUp()
	}, nil
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
	patience := timeout
	if deadline, ok := ctx.Deadline(); ok { // and a little more, so that ctx ends first and says why
		patience = max(time.Until(deadline), 0) + time.Second
	}
	policy := gomail.NoTLS
	if s.security == startTLS {
		policy = gomail.TLSMandatory
	}
	options := []gomail.Option{
		gomail.WithTimeout(patience), gomail.WithTLSConfig(s.tls()), gomail.WithTLSPolicy(policy),
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
