package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/app"
)

func newHealthcheckCmd() *cobra.Command {
	var url string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running serve or all whether it is ready; exit 0 if so, 3 if not",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := app.Healthcheck(cmd.Context(), url, timeout)
			if err != nil && !errors.Is(err, app.ErrUnreachable) {
				return usageError{err}
			}
			return err
		},
	}
	address := os.Getenv("SIGNALSTACK_URL")
	if address == "" {
		address = app.LocalURL(os.Getenv("SIGNALSTACK_ADDR"))
	}
	cmd.Flags().StringVar(&url, "url", address, "where the process serves [$SIGNALSTACK_URL]")
	cmd.Flags().DurationVar(&timeout, "timeout", 2500*time.Millisecond, "how long to wait for the answer")
	return cmd
}
