// Command signalstack takes events, turns them into jobs by rules and runs the
// jobs: serve, work, or all in one process, on PostgreSQL.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // zones of analytics, where the machine has none

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/client"
	"github.com/signalstack/signalstack/internal/pg"
)

// version is set by the linker.
var version = "dev"

// Exit codes besides 0.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3
)

func main() {
	stop, cut := signals()
	os.Exit(run(stop, cut, os.Args[1:]))
}

// signals gives a context that the first SIGINT or SIGTERM ends and a channel that
// the second closes.
func signals() (context.Context, <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	cut := make(chan struct{})
	heard := make(chan os.Signal, 2)
	signal.Notify(heard, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-heard
		cancel()
		<-heard
		close(cut)
	}()
	return ctx, cut
}

func run(ctx context.Context, cut <-chan struct{}, args []string) int {
	root := newRootCmd(cut)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "signalstack:", err)
	switch {
	case errors.As(err, new(usageError)), errors.Is(err, pg.ErrBadURL):
		return exitUsage
	case errors.Is(err, app.ErrUnreachable), errors.Is(err, client.ErrUnreachable):
		return exitUnreachable
	}
	return exitFailure
}
