package app

import (
	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/httpcall"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/logline"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// newKinds is the table of contents of what a job can do: one line for each kind.
func (a *App) newKinds(guard *outbound.Guard, client *outbound.Client) (*jobs.Registry, error) {
	mail, err := email.Kind(email.Config{SMTPURL: a.opt.Config.SMTPURL, From: a.opt.Config.MailFrom})
	if err != nil {
		return nil, err
	}
	return jobs.NewRegistry(
		webhooks.Kind(a.endpoints, client),
		httpcall.Kind(guard, client),
		mail,
		logline.Kind(a.log),
	), nil
}
