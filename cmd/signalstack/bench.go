package main

import (
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/bench"
)

func newBenchCmd() *cobra.Command {
	opt := bench.Options{}
	cmd := &cobra.Command{
		Use:   "bench [scenario...]",
		Short: "Measure this machine: throughput, latency, fairness and what hurts queues",
		Long: "Measure on scratch databases that are made and dropped again, on the server of --database-url\n" +
			"or, without one, on a private throw-away PostgreSQL with durable commits. Data is never touched.\n\n" +
			"All scenarios run unless some are named, here or by --only:\n\n" + bench.Help(),
		Example: "  signalstack bench ingest\n  signalstack bench insert backlog --jobs 50000",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := load(cmd)
			if err != nil {
				return err
			}
			opt.Only = append(opt.Only, args...)
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
