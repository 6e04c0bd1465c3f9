package main

import (
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/app"
)

func newServeCmd(cut <-chan struct{}) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API on an existing database",
		Long:  "Serve the HTTP API. Any number of serve processes may share a database; its schema must\nhave been brought up by: signalstack migrate up",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := load(cmd)
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), app.Options{Config: cfg, Log: log, Version: version, Cut: cut, Serve: true})
		},
	}
	addFlags(cmd, "serve")
	return cmd
}
