package main

import (
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/app"
)

func newMigrateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Change the schema of a database",
		Long:  "Change the schema of a database. Several may start at once: one migrates, the others wait.",
		Args:  knownCommand,
		RunE:  nameACommand,
	}
	for _, sub := range []struct{ verb, short string }{
		{"up", "Apply every migration that is missing"},
		{"down", "Take the newest migration back"},
		{"redo", "Take the newest migration back and apply it again"},
		{"status", "List the migrations and when each was applied"},
		{"version", "Print the version of the schema"},
	} {
		cmd.AddCommand(&cobra.Command{Use: sub.verb, Short: sub.short, Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := load(cmd)
			if err != nil {
				return err
			}
			return app.Migrate(cmd.Context(), cfg, log, cmd.OutOrStdout(), sub.verb)
		}})
	}
	addFlags(cmd, "migrate")
	return cmd
}
