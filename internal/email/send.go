package email

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/signalstack/signalstack/internal/jobs"
)

// envelope is a message as it goes over the wire.
type envelope struct {
	from  string
	to    []string
	bytes []byte
	utf8  bool // an address needs SMTPUTF8
}

// seal writes a message in full, so that no half of it can be taken for a whole.
func seal(m *gomail.Msg) (envelope, error) {
	var letter bytes.Buffer
	_, err := m.WriteTo(&letter)
	from, fromErr := m.GetSender(false)
	to, toErr := m.GetRecipients()
	if err := errors.Join(err, fromErr, toErr); err != nil {
		return envelope{}, jobs.Permanentf("write e-mail: %w", err)
	}
	return envelope{from: from, to: to, bytes: letter.Bytes(), utf8: isUTF8(from) || slices.ContainsFunc(to, isUTF8)}, nil
}

// deliver makes one SMTP transaction and gives the server's answer to the message. Its
// errors say by jobs.Permanent what no further attempt can mend. All recipients are
// offered before any is sent to, so that one answer names all that are refused.
func (c *conn) deliver(e envelope) (string, error) {
	if ok, _ := c.session.Extension("SMTPUTF8"); e.utf8 && !ok {
		return "", jobs.Permanent(errNoUTF8)
	}
	c.session.SkipSMTPUTF8(!e.utf8) // a message that asks for it cannot go to servers without
	if err := c.session.Mail(e.from); err != nil {
		return "", unsent(judge("the mail server refuses the sender "+e.from, err))
	}
	var refused []error
	for _, recipient := range e.to {
		if err := c.session.Rcpt(recipient); err != nil {
			refused = append(refused, judge("the mail server refuses the recipient "+recipient, err))
			if replyOf(err) == nil || isGoodbye(err) {
				return "", unsent(verdictOf(refused))
			}
		}
	}
	if len(refused) > 0 {
		return "", verdictOf(refused)
	}
	w, err := c.session.Data()
	if err != nil {
		return "", unsent(judge("the mail server refuses the message", err))
	}
	if _, err := w.Write(e.bytes); err != nil {
		return "", unsent(fmt.Errorf("send the message: %w", err))
	}
	if err := w.Close(); err != nil {
		return "", judge("the mail server refuses the message", err)
	}
	if closer, ok := w.(*smtp.DataCloser); ok {
		return closer.ServerResponse(), nil
	}
	return "", nil
}

// errNoUTF8 is for good: the address is as it is (RFC 6531).
var errNoUTF8 = errors.New("an address has letters beyond ASCII before its @, and the mail server does not take such (SMTPUTF8)")

// unsent marks what came before the message was in full on its way, when the
// connection is to blame.
func unsent(err error) error {
	if replyOf(err) == nil || isGoodbye(err) {
		return &unsentError{err}
	}
	return err
}

// verdictOf gives up when one refusal is for good: all would go to nobody again.
func verdictOf(refused []error) error {
	err := error(refusals(refused))
	if slices.ContainsFunc(refused, jobs.IsPermanent) {
		return jobs.Permanent(err)
	}
	return err
}

// refusals are the answers to several recipients.
type refusals []error

func (r refusals) Error() string {
	texts := make([]string, len(r))
	for i, err := range r {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives the last, after which the connection is as it is.
func (r refusals) Unwrap() error { return r[len(r)-1] }

// judge tells an answer that is for good from all that a later attempt may mend.
func judge(what string, err error) error {
	reply := replyOf(err)
	if reply == nil {
		return fmt.Errorf("%s: the connection failed: %w", what, err)
	}
	err = fmt.Errorf("%s: %w", what, err)
	switch reply.Code {
	case 530, 534, 535, 538: // a login is missing or too weak: the operator's setting
		return err
	}
	if reply.Code >= 500 {
		return jobs.Permanent(err)
	}
	return err
}

// replyOf gives the server's answer inside err, or nil when there was none.
func replyOf(err error) *textproto.Error {
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return reply
	}
	return nil
}
