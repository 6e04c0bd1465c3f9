package main

import (
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/demo"
)

func newAllCmd(cut <-chan struct{}) *cobra.Command {
	var withDemo bool
	cmd := &cobra.Command{
		Use:   "all",
		Short: "Migrate, serve and work in one process, with a PostgreSQL of its own if need be",
		Long: "Migrate, serve and work in one process. With no database URL it starts a private\n" +
			"PostgreSQL from the binaries of this machine, keeps its data in --data-dir and stops it\n" +
			"last. It never touches a server that it did not start.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := load(cmd)
			if err != nil {
				return err
			}
			opt := app.Options{Config: cfg, Log: log, Version: version, Cut: cut, Out: cmd.OutOrStdout()}
			if withDemo {
				return demo.Run(cmd.Context(), opt)
			}
			return app.RunAll(cmd.Context(), opt)
		},
	}
	addFlags(cmd, "all")
	cmd.Flags().BoolVar(&withDemo, "demo", false, "send real GitHub webhooks to a source, verify what a built-in receiver gets of them, then end")
	return cmd
}
