package main

import (
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/app"
)

func newWorkCmd(cut <-chan struct{}) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Work on the jobs of an existing database",
		Long:  "Work on jobs. Any number of work processes may share a database; its schema must have\nbeen brought up by: signalstack migrate up",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := load(cmd)
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), app.Options{Config: cfg, Log: log, Version: version, Cut: cut, Work: true})
		},
	}
	addFlags(cmd, "work")
	return cmd
}
