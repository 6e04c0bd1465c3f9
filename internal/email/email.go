package email

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/template"
)

// Config says how e-mail leaves.
type Config struct {
	SMTPURL string         // "" until the operator sets it; jobs wait for it by their retry policy
	From    string         // sender of e-mails that name none
	RootCAs *x509.CertPool // who may vouch for the server; nil is the system's list
}

const (
	queueName   = "email"
	timeout     = 30 * time.Second
	maxAttempts = 8 // over five hours, which outlasts greylisting and most outages
)

// checkTime bounds the rendering of a job that is being created.
const checkTime = 5 * time.Second

// KindName is the kind of jobs that send e-mail.
const KindName = "email"

// Kind makes the kind "email". Its error names the setting that is wrong.
func Kind(cfg Config) (jobs.Kind, error) {
	s, err := newSender(cfg)
	if err != nil {
		return jobs.Kind{}, err
	}
	return jobs.Kind{
		Name: KindName, Check: check, Run: s.run, Queue: queueName, Timeout: timeout, MaxAttempts: maxAttempts,
		Retry: jobs.Policy{Strategy: "exponential", Base: "15s", Factor: 4, Cap: "2h", Jitter: "proportional"},
	}, nil
}

// check reports every mistake of a payload that can be known now.
func check(raw json.RawMessage, later jobs.Later) []fault.Detail {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	p, mistakes := readPayload(raw)
	mistakes = append(mistakes, p.compile(ctx)...)
	if later.Any() || len(mistakes) > 0 {
		return append(mistakes, p.checkLiterals()...)
	}
	_, mistakes = p.render(template.Scope(p.data, jobs.Job{}))
	return mistakes
}

// sender runs the jobs.
type sender struct {
	pool *pool         // nil: not configured
	from *mail.Address // nil: not configured
}

func newSender(cfg Config) (*sender, error) {
	s := &sender{}
	if cfg.SMTPURL != "" {
		server, err := parseURL(cfg.SMTPURL)
		if err != nil {
			return nil, fmt.Errorf("SIGNALSTACK_SMTP_URL: %w", err)
		}
		server.roots = cfg.RootCAs
		s.pool = newPool(server)
	}
	if cfg.From != "" {
		var err error
		if s.from, err = parseAddress(cfg.From); err != nil {
			return nil, fmt.Errorf("SIGNALSTACK_MAIL_FROM: %w", err)
		}
	}
	return s, nil
}

func (s *sender) run(ctx context.Context, job jobs.Job) (jobs.Result, error) {
	if s.pool == nil {
		return jobs.Result{}, errors.New("no mail server is configured: set SIGNALSTACK_SMTP_URL")
	}
	l, mistakes := makeLetter(ctx, job)
	if ctx.Err() != nil {
		return jobs.Result{}, fmt.Errorf("render e-mail: %w", context.Cause(ctx))
	}
	if len(mistakes) > 0 {
		return jobs.Result{}, jobs.Permanentf("the e-mail cannot be made: %s", listOf(mistakes))
	}
	if l.from == nil {
		l.from = s.from
	}
	if l.from == nil {
		return jobs.Result{}, errors.New("the e-mail has no sender: set SIGNALSTACK_MAIL_FROM, or name it in from")
	}
	e, err := seal(l.message(job.ID, time.Now()))
	if err != nil {
		return jobs.Result{}, err
	}
	answer, err := s.pool.send(ctx, e)
	if err != nil {
		if ctx.Err() != nil {
			return jobs.Result{}, fmt.Errorf("send e-mail: %w", context.Cause(ctx))
		}
		return jobs.Result{}, err
	}
	return resultOf(l.messageID(job.ID), answer)
}

// maxAnswer bounds what is kept of the server's answer, in bytes.
const maxAnswer = 500

// resultOf is what an e-mail leaves to look for it by: its Message-ID, and the answer
// of the server, which mostly names it in the server's log.
func resultOf(messageID, answer string) (jobs.Result, error) {
	if len(answer) > maxAnswer {
		answer = answer[:maxAnswer]
	}
	value, err := json.Marshal(map[string]string{"message_id": messageID, "response": strings.ToValidUTF8(answer, "\uFFFD")})
	return jobs.Result{Value: value}, err
}

// makeLetter turns a job's payload into the letter to send.
func makeLetter(ctx context.Context, job jobs.Job) (letter, []fault.Detail) {
	p, mistakes := readPayload(job.Payload)
	if mistakes = append(mistakes, p.compile(ctx)...); len(mistakes) > 0 {
		return letter{}, mistakes
	}
	return p.render(template.Scope(p.data, job))
}

func listOf(mistakes []fault.Detail) string {
	lines := make([]string, len(mistakes))
	for i, m := range mistakes {
		lines[i] = strings.TrimPrefix(m.Pointer, "/") + " " + m.Detail
	}
	return strings.Join(lines, "; ")
}
