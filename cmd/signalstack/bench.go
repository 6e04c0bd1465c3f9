package main

import (
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/bench"
)

func newBenchCmd() *cobra.Command {
	opt := bench.Options{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine: throughput, latency, fairness and what hurts queues",
		Long: "Measure on scratch databases that are made and dropped again, on the server of --database-url\n" +
			"or, without one, on a private throw-away PostgreSQL with durable commits. Data is never touched.\n\n" +
			"All scenarios run unless --only names some:\n\n" + bench.Help(),
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := load(cmd)
			if err != nil {
				return err
			}
			opt.Config, opt.Out, opt.Talk = cfg, cmd.OutOrStdout(), cmd.ErrOrStderr()
			if err := opt.Check(); err != nil {
				return usageError{err}
			}
			return bench.Run(cmd.Context(), opt)
		},
	}
	addFlags(cmd, "bench")
	opt.AddFlags(cmd.Flags())
	return cmd
}
