package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/config"
)

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func newRootCmd(cut <-chan struct{}) *cobra.Command {
	root := &cobra.Command{
		Use:           "signalstack",
		Short:         "Events in, jobs by rules, signed webhooks and more out",
		Long:          "SignalStack takes events, turns them into jobs by rules and runs the jobs with retries\nuntil each is done or visibly given up on. PostgreSQL is all it needs; \"signalstack all\"\nbrings its own.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          nameACommand,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(newServeCmd(cut), newWorkCmd(cut), newAllCmd(cut), newMigrateCmd(), newRulesCmd(), newSchedulesCmd(), newApplyCmd(), newBenchCmd(),
		newHealthcheckCmd(), newConfigCmd(), newVersionCmd())
	return root
}

// addFlags gives a command the flags of its settings.
func addFlags(cmd *cobra.Command, of string) {
	for _, f := range config.FieldsOf(of) {
		help := f.Help + " [$" + f.Env + "]"
		if f.Bool {
			cmd.PersistentFlags().Bool(f.Flag, false, help)
			continue
		}
		cmd.PersistentFlags().String(f.Flag, f.Default, help)
	}
}

// load reads the settings of a command from its flags and the environment.
func load(cmd *cobra.Command) (config.Config, *slog.Logger, error) {
	said := map[string]string{}
	for _, f := range config.Fields() {
		if flag := cmd.Flags().Lookup(f.Flag); flag != nil && flag.Changed {
			said[f.Env] = flag.Value.String()
		}
	}
	cfg, err := config.Load(os.Environ(), said)
	if err != nil {
		return cfg, nil, usageError{err}
	}
	return cfg, newLogger(cfg), nil
}

// newLogger writes to stderr: for people on a terminal, else JSON.
func newLogger(cfg config.Config) *slog.Logger {
	text := cfg.LogFormat == "text" || cfg.LogFormat == "auto" && isatty.IsTerminal(os.Stderr.Fd())
	if text {
		color := isatty.IsTerminal(os.Stderr.Fd()) && os.Getenv("NO_COLOR") == ""
		return slog.New(tint.NewTextHandler(os.Stderr, &tint.Options{Level: cfg.LogLevel, NoColor: !color, TimeFormat: "15:04:05.000"}))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.LogLevel}))
}

// knownCommand and nameACommand make a command that only groups others refuse to
// do nothing.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("there is no command %q; see: %s --help", args[0], cmd.CommandPath())}
	}
	return nil
}

func nameACommand(cmd *cobra.Command, _ []string) error {
	_ = cmd.Help()
	return usageError{errors.New("name a command")}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, but got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
