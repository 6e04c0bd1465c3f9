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
	var patternFile, eventFile, actionsFile, format string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Say whether a pattern matches an event, and why; exit 0 if so, 1 if not, 2 if they are wrong",
		Long: "Say whether a pattern matches an event, and why: for each list of the pattern the value\n" +
			"that it was held against. The event is written as for POST /events. With --actions, a list as\n" +
			"in POST /rules, say also what conditions come to and which jobs are made. Nothing is asked of a\n" +
			"server or a database. Exit 0 if it matches, 1 if not, 2 if the pattern or event is wrong.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fromStdin := 0
			for _, file := range []string{patternFile, eventFile, actionsFile} {
				if file == "-" {
					fromStdin++
				}
			}
			if fromStdin > 1 {
				return usageError{errors.New("only one of --pattern, --event and --actions can be read from standard input")}
			}
			rawPattern, err := readInput(cmd.InOrStdin(), "pattern", patternFile)
			if err != nil {
				return err
			}
			rawEvent, err := readInput(cmd.InOrStdin(), "event", eventFile)
			if err != nil {
				return err
			}
			var rawActions []byte
			if actionsFile != "" {
				if rawActions, err = readInput(cmd.InOrStdin(), "actions", actionsFile); err != nil {
					return err
				}
			}
			err = app.TestRule(cmd.OutOrStdout(), rawPattern, rawEvent, rawActions, format)
			if errors.Is(err, app.ErrNoTest) {
				return usageError{err}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&patternFile, "pattern", "", "file of the pattern; - is standard input")
	cmd.Flags().StringVar(&eventFile, "event", "", "file of the event; - is standard input")
	cmd.Flags().StringVar(&actionsFile, "actions", "", "file of the list of actions of a rule, to see the jobs that they make")
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
