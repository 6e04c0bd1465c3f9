package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/config"
)

func newConfigCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "List every setting with its value in this environment; secrets are masked",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := load(cmd); err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "VARIABLE\tVALUE\tMEANING")
			for _, f := range config.Fields() {
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.Env, shown(f), f.Help)
			}
			return w.Flush()
		},
	}
}

func shown(f config.Field) string {
	value, said := os.LookupEnv(f.Env)
	switch {
	case !said && os.Getenv(f.Env+"_FILE") != "":
		return "(from " + os.Getenv(f.Env+"_FILE") + ")"
	case !said:
		return f.Default
	case f.Secret && value != "":
		return "****"
	}
	return value
}
