package app

import (
	"github.com/signalstack/signalstack/internal/command"
	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/external"
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
	kinds := []jobs.Kind{
		webhooks.Kind(a.endpoints, client),
		httpcall.Kind(guard, client),
		mail,
		logline.Kind(a.log),
		external.Kind(),
	}
	if len(a.opt.Config.Commands) > 0 { // what nobody named nobody can run
		kinds = append(kinds, command.Kind(a.opt.Config.Commands))
	}
	return jobs.NewRegistry(kinds...), nil
}
