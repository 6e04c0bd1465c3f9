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
	s := &sender{}
	var err error
	if cfg.SMTPURL != "" {
		if s.server, err = parseURL(cfg.SMTPURL); err != nil {
			return jobs.Kind{}, fmt.Errorf("SIGNALSTACK_SMTP_URL: %w", err)
		}
		s.server.roots = cfg.RootCAs
	}
	if cfg.From != "" {
		if s.from, err = parseAddress(cfg.From); err != nil {
			return jobs.Kind{}, fmt.Errorf("SIGNALSTACK_MAIL_FROM: %w", err)
		}
	}
	return jobs.Kind{
		Name: KindName, Check: check, Run: s.run, Queue: queueName, Timeout: timeout, MaxAttempts: maxAttempts,
		Retry: jobs.Policy{Strategy: "exponential", Base: "15s", Factor: 4, Cap: "2h", Jitter: "proportional"},
	}, nil
}

// check reports every mistake of a payload that can be known now.
func check(raw json.RawMessage, fromEvent bool) []fault.Detail {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	p, mistakes := readPayload(raw)
	mistakes = append(mistakes, p.compile(ctx)...)
	if fromEvent || len(mistakes) > 0 {
		return append(mistakes, p.checkLiterals()...)
	}
	_, mistakes = p.render(scope(p.data, nil))
	return mistakes
}

// sender runs the jobs.
type sender struct {
	server *server       // nil: not configured
	from   *mail.Address // nil: not configured
}

func (s *sender) run(ctx context.Context, job jobs.Job) (jobs.Result, error) {
	if s.server == nil {
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
	if err := s.server.send(ctx, l.message(job.ID, time.Now())); err != nil {
		if ctx.Err() != nil {
			return jobs.Result{}, fmt.Errorf("send e-mail: %w", context.Cause(ctx))
		}
		return jobs.Result{}, err
	}
	return jobs.Result{}, nil
}

// makeLetter turns a job's payload into the letter to send.
func makeLetter(ctx context.Context, job jobs.Job) (letter, []fault.Detail) {
	p, mistakes := readPayload(job.Payload)
	if mistakes = append(mistakes, p.compile(ctx)...); len(mistakes) > 0 {
		return letter{}, mistakes
	}
	return p.render(scope(p.data, job.Event))
}

func listOf(mistakes []fault.Detail) string {
	lines := make([]string, len(mistakes))
	for i, m := range mistakes {
		lines[i] = strings.TrimPrefix(m.Pointer, "/") + " " + m.Detail
	}
	return strings.Join(lines, "; ")
}
