// Command withpg runs a command with TEST_DATABASE_URL set: to the value it has
// already, else to a throw-away PostgreSQL that lives as long as the command.
//
//	go run ./internal/pgtest/withpg -- go test ./...
//
// It returns the command's exit code. A machine without PostgreSQL downloads one,
// once, unless SIGNALSTACK_DOWNLOAD_POSTGRES=false. With --pooler it puts a PgBouncer
// in transaction mode in front of the server, which TEST_POOLER_URL names.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/signalstack/signalstack/internal/pg/devpg"
)

// variable is what the tests read the server's URL from.
const variable = "TEST_DATABASE_URL"

// connections are enough for two test binaries at once, each with parallel tests
// that open several pools.
const connections = 400

func main() {
	args := os.Args[1:]
	pooled := len(args) > 0 && args[0] == "--pooler"
	if pooled {
		args = args[1:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: withpg [--pooler] -- command [argument...]")
		os.Exit(2)
	}
	code, err := run(args, pooled)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
	}
	os.Exit(code)
}

// run gives the exit code, and an error when there is more to say.
func run(args []string, pooled bool) (int, error) {
	heard := make(chan os.Signal, 8)
	signal.Notify(heard, os.Interrupt, syscall.SIGTERM)
	run := func() (int, error) { return command(args, heard) }
	if pooled {
		unpooled := run
		run = func() (int, error) { return withPooler(unpooled) }
	}
	if os.Getenv(variable) != "" {
		return run()
	}
	return withServer(heard, run)
}

// withServer runs what needs a server.
func withServer(heard <-chan os.Signal, run func() (int, error)) (code int, err error) {
	server, err := startServer(heard)
	if err != nil {
		return 1, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if stopErr := server.Stop(ctx); stopErr != nil {
			code, err = max(code, 1), errors.Join(err, stopErr)
		}
	}()
	if err := os.Setenv(variable, server.DSN()); err != nil {
		return 1, fmt.Errorf("set %s: %w", variable, err)
	}
	code, err = run()
	return code, errors.Join(err, server.Err())
}

// startServer starts the throw-away server; a signal ends the attempt.
func startServer(heard <-chan os.Signal) (*devpg.Server, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-heard:
			cancel()
		case <-ctx.Done():
		}
	}()
	return devpg.Start(ctx, devpg.Config{
		Ephemeral: true, NoSync: true, MaxConnections: connections,
		BinDir: os.Getenv("SIGNALSTACK_PG_BIN"), Mirror: os.Getenv("SIGNALSTACK_POSTGRES_MIRROR"),
		Download: mayDownload(os.Getenv("SIGNALSTACK_DOWNLOAD_POSTGRES")), Stderr: os.Stderr,
	})
}

// mayDownload is true but for an outspoken no: who runs the tests has asked for
// what they need, and Start says on stderr what it fetches.
func mayDownload(setting string) bool {
	allowed, err := strconv.ParseBool(setting)
	return err != nil || allowed
}

// command runs the command to its end, hands it the signals and gives its exit
// code, by the shell's convention when a signal ended it.
func command(args []string, heard <-chan os.Signal) (int, error) {
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...) //nolint:gosec // running it is what this is for
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("start the command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-heard:
			_ = cmd.Process.Signal(s) // it may have ended, which the next turn says
		case err := <-ended:
			return exitCode(cmd.ProcessState, err)
		}
	}
}

func exitCode(state *os.ProcessState, err error) (int, error) {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	if errors.As(err, new(*exec.ExitError)) {
		return state.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("run the command: %w", err)
	}
	return 0, nil
}
