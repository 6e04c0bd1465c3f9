package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pg/devpg"
)

// stopTime is how long the private PostgreSQL may take to stop.
const stopTime = 20 * time.Second

// RunAll migrates, serves and works in one process. Without a database URL it
// starts a private PostgreSQL first and stops it last.
func RunAll(ctx context.Context, opt Options) (err error) {
	opt.Serve, opt.Work, opt.AllowLoopback = true, true, true
	if opt.Config.Addr == "" {
		opt.Config.Addr = "127.0.0.1:8080"
	}
	if opt.Config.Ephemeral && opt.Config.DatabaseURL != "" {
		opt.Log.InfoContext(ctx, "leaving the database of DATABASE_URL alone: what is ephemeral gets one of its own")
		opt.Config.DatabaseURL, opt.Config.DirectURL = "", ""
	}
	private := opt.Config.DatabaseURL == ""
	if private {
		server, err := devpg.Start(ctx, devpg.Config{
			DataDir: opt.Config.DataDir, Ephemeral: opt.Config.Ephemeral, BinDir: opt.Config.PGBin,
			Download: opt.Config.DownloadPostgres, Mirror: opt.Config.PostgresMirror,
			Stdin: os.Stdin, Stderr: os.Stderr, Log: opt.Log,
		})
		if err != nil {
			return privateError(ctx, err)
		}
		defer func() { err = errors.Join(err, stopPrivate(ctx, server)) }()
		opt.Config.DatabaseURL, opt.Config.DirectURL = server.DSN(), ""
		var stop context.CancelFunc
		ctx, stop = endWith(ctx, server, opt)
		defer stop()
	}
	// On a database that others may use, a key of this machine would be one they do
	// not have.
	if private && opt.Config.SecretKey == "" {
		if opt.Config.SecretKey, err = secretKey(opt); err != nil {
			return err
		}
	}
	if err := migrateAll(ctx, opt); err != nil || ctx.Err() != nil {
		return err
	}
	ready := opt.Ready
	opt.Ready = func(url string) {
		if opt.Out != nil {
			_, _ = fmt.Fprintf(opt.Out, "SignalStack is ready at %s (stop it with Ctrl-C)\n", url)
		}
		if ready != nil {
			ready(url)
		}
	}
	return Run(ctx, opt)
}

// privateError keeps a Ctrl-C during the start from looking like a failure.
func privateError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if errors.As(err, new(*devpg.NotFoundError)) {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

func stopPrivate(ctx context.Context, server *devpg.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return server.Stop(ctx)
}

// endWith ends ctx when the private PostgreSQL ends by itself: without it there is
// nothing to serve, and a restart of the process recovers all data.
func endWith(ctx context.Context, server *devpg.Server, opt Options) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		select {
		case <-server.Done():
			opt.Log.ErrorContext(ctx, "the private PostgreSQL ended; stopping", "error", server.Err())
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

func migrateAll(ctx context.Context, opt Options) error {
	db, err := pg.Open(cmp.Or(opt.Config.DirectURL, opt.Config.DatabaseURL), pg.Options{Role: "migrate", MaxConns: 3, Unbounded: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err := awaitDatabase(ctx, db, opt.Log); err != nil {
		return err
	}
	return pg.MigrateUp(ctx, db, opt.Log)
}

// secretKey gives the key in the data directory, making it on the first start. An
// ephemeral process keeps its key to itself.
func secretKey(opt Options) (string, error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails (crypto/rand)
	key := base64.StdEncoding.EncodeToString(fresh)
	if opt.Config.Ephemeral {
		return key, nil
	}
	dir := opt.Config.DataDir
	if dir == "" {
		dir = devpg.DefaultDataDir()
	}
	path := filepath.Join(dir, "secret.key")
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the directory
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the secret key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL may run under another uid and must traverse it
		return "", fmt.Errorf("make the data directory: %w", err)
	}
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the secret key: %w", err)
	}
	return key, nil
}
