package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/app"
)

func newRulesCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Work with rules", Args: knownCommand, RunE: nameACommand}
	cmd.AddCommand(newRulesTestCmd())
	return cmd
}

func newRulesTestCmd() *cobra.Command {
	var patternFile, eventFile, format string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Say whether a pattern matches an event, and why; exit 0 if so, 1 if not, 2 if they are wrong",
		Long: "Say whether a pattern matches an event, and why: for each list of the pattern the value\n" +
			"that it was held against. The event is written as for POST /events. Nothing is asked of a\n" +
			"server or a database. Exit 0 if it matches, 1 if not, 2 if the pattern or event is wrong.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if patternFile == "-" && eventFile == "-" {
				return usageError{errors.New("only one of --pattern and --event can be read from standard input")}
			}
			rawPattern, err := readInput(cmd.InOrStdin(), "pattern", patternFile)
			if err != nil {
				return err
			}
			rawEvent, err := readInput(cmd.InOrStdin(), "event", eventFile)
			if err != nil {
				return err
			}
			err = app.TestRule(cmd.OutOrStdout(), rawPattern, rawEvent, format)
			if errors.Is(err, app.ErrNoTest) {
				return usageError{err}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&patternFile, "pattern", "", "file of the pattern; - is standard input")
	cmd.Flags().StringVar(&eventFile, "event", "", "file of the event; - is standard input")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	return cmd
}

// readInput reads the file that a flag names.
func readInput(stdin io.Reader, flag, file string) ([]byte, error) {
	var raw []byte
	var err error
	switch file {
	case "":
		return nil, usageError{fmt.Errorf("--%s is missing: name a file, or - for standard input", flag)}
	case "-":
		raw, err = io.ReadAll(stdin)
	default:
		raw, err = os.ReadFile(file) //nolint:gosec // the caller names the file to read
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("read the %s: %w", flag, err)}
	}
	return raw, nil
}
