package main

import (
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/bench"
)

func newBenchCmd() *cobra.Command {
	opt := bench.Options{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine: jobs worked and inserted, events through HTTP, pickup latency",
		Long: "Measure on a scratch database that is made and dropped again, on the server of --database-url\n" +
			"or, without one, on a private throw-away PostgreSQL with durable commits. Data is never touched.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := load(cmd)
			if err != nil {
				return err
			}
			opt.Config, opt.Out, opt.Talk = cfg, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return bench.Run(cmd.Context(), opt)
		},
	}
	addFlags(cmd, "bench")
	opt.AddFlags(cmd.Flags())
	return cmd
}
