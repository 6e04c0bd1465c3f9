package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/client"
)

func newApplyCmd() *cobra.Command {
	r := &remote{}
	var file string
	var dry bool
	cmd := &cobra.Command{
		Use: "apply", Short: "Make the schedules of a server be as a file says", Args: noArgs,
		Long: "Make the schedules of a server be as a file says: YAML or JSON, one or several documents of\n" +
			"kind schedule with a name and the fields of POST /schedules. What is not there is created, what\n" +
			"differs is changed, and what no document names is left alone.",
		Example: "  signalstack apply -f schedules.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := readInput(cmd.InOrStdin(), "file", file)
			if err != nil {
				return err
			}
			all, err := client.ReadDocuments(file, raw)
			if err == nil {
				var c *client.Client
				if c, err = r.client(); err == nil {
					err = c.Apply(cmd.Context(), cmd.OutOrStdout(), all, dry)
				}
			}
			if errors.Is(err, client.ErrDocuments) {
				return usageError{err}
			}
			return err
		},
	}
	r.addFlags(cmd, false)
	cmd.Flags().StringVarP(&file, "file", "f", "", "file of the documents; - is standard input")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}
