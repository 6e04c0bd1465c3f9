package bench

import (
	"context"
	"errors"
	"log/slog"

	"github.com/signalstack/signalstack/internal/app"
)

// withApp runs a process of the product here, and f once it serves.
func (s *scratch) withApp(ctx context.Context, opt app.Options, f func(url string) error) error {
	opt.Config, opt.Log, opt.Version = s.o.Config, slog.New(slog.DiscardHandler), "bench"
	opt.Config.AdminKey = "" // the requests of a benchmark have none
	opt.Config.DatabaseURL, opt.Config.DirectURL, opt.Config.Addr = s.url, "", "127.0.0.1:0"
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan string, 1)
	opt.Ready = func(url string) { ready <- url }
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, opt) }()
	select {
	case url := <-ready:
		err := f(url)
		stop()
		return errors.Join(err, <-ended)
	case err := <-ended:
		return errors.Join(errors.New("the server ended early"), err)
	}
}
