package email

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/signalstack/signalstack/internal/jobs"
)

// send makes one SMTP transaction and ends with ctx. Its errors say by
// jobs.Permanent what no further attempt can mend.
func (s *server) send(ctx context.Context, m *gomail.Msg) error {
	var letter bytes.Buffer // in full before DATA, so that no half of it can be taken for a whole
	if _, err := m.WriteTo(&letter); err != nil {
		return jobs.Permanentf("write e-mail: %w", err)
	}
	from, err := m.GetSender(false)
	if err != nil {
		return jobs.Permanentf("write e-mail: %w", err)
	}
	to, err := m.GetRecipients()
	if err != nil {
		return jobs.Permanentf("write e-mail: %w", err)
	}
	session, hangUp, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("connect to the mail server: %w", s.conceal(err))
	}
	defer hangUp()
	return deliver(session, from, to, letter.Bytes())
}

// deliver makes the transaction. All recipients are offered before any is sent to,
// so that one answer names all that are refused.
func deliver(session *smtp.Client, from string, to []string, letter []byte) error {
	if err := session.Mail(from); err != nil {
		return judge("the mail server refuses the sender "+from, err)
	}
	var refused []error
	for _, recipient := range to {
		if err := session.Rcpt(recipient); err != nil {
			refused = append(refused, judge("the mail server refuses the recipient "+recipient, err))
			if replyOf(err) == nil {
				break // the connection is gone
			}
		}
	}
	if len(refused) > 0 {
		return verdictOf(refused)
	}
	w, err := session.Data()
	if err != nil {
		return judge("the mail server refuses the message", err)
	}
	if _, err := w.Write(letter); err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	if err := w.Close(); err != nil {
		return judge("the mail server refuses the message", err)
	}
	return nil
}

// verdictOf gives up when one refusal is for good: all would go to nobody again.
func verdictOf(refused []error) error {
	texts := make([]string, len(refused))
	for i, err := range refused {
		texts[i] = err.Error()
	}
	err := errors.New(strings.Join(texts, "; "))
	if slices.ContainsFunc(refused, jobs.IsPermanent) {
		return jobs.Permanent(err)
	}
	return err
}

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
