package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/external"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/sealed"
	"github.com/signalstack/signalstack/internal/sources"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// ErrUnreachable says that something the process needs cannot be reached.
var ErrUnreachable = errors.New("unreachable")

// Options say which roles to run and how.
type Options struct {
	Config  config.Config
	Log     *slog.Logger
	Version string
	Cut     <-chan struct{} // closed: end the grace time now
	Serve   bool
	Work    bool
	Out     io.Writer // where "all" prints its one line; nil: nowhere
	// Ready is called with the URL of the API once it serves; may be nil.
	Ready func(url string)
	// AllowLoopback lets jobs reach this machine.
	AllowLoopback bool
}

// App is the process put together.
type App struct {
	opt       Options
	log       *slog.Logger
	db        *pg.DB // handlers, claims and settlements
	heartbeat *pg.DB // leases only, so that a full pool cannot starve them
	direct    *pg.DB // LISTEN only, past a pooler if there is one
	endpoints *webhooks.Endpoints
	sources   *sources.API
	kinds     *jobs.Registry
	leases    *external.API
	draining  atomic.Bool
	worked    chan struct{} // closed when no job runs here any more
	started   time.Time
}

// Run opens the database, which must have a schema that is new enough, and runs
// the roles until ctx ends. It gives nil after a clean stop.
func Run(ctx context.Context, opt Options) error {
	if opt.Config.DatabaseURL == "" {
		return errors.New("DATABASE_URL is not set; name a PostgreSQL, or start \"signalstack all\", which brings its own")
	}
	a, err := open(opt)
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.awaitSchema(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return a.runRoles(ctx)
}

func open(opt Options) (*App, error) {
	a := &App{opt: opt, log: opt.Log, started: time.Now(), worked: make(chan struct{})}
	if !opt.Work {
		close(a.worked)
	}
	if err := a.openPools(); err != nil {
		return nil, errors.Join(err, a.closePools())
	}
	guard, err := outbound.NewGuard(opt.Config.AllowNetworks, opt.AllowLoopback)
	if err != nil {
		return nil, errors.Join(err, a.closePools())
	}
	box, err := a.openBox()
	if err != nil {
		return nil, errors.Join(err, a.closePools())
	}
	client := outbound.NewClient(guard, opt.Version)
	a.endpoints = &webhooks.Endpoints{DB: a.db, Box: box, Guard: guard, Client: client, Log: a.log, DisableAfter: opt.Config.DisableAfter}
	a.sources = sources.New(a.db, box, a.log)
	if a.kinds, err = a.newKinds(guard, client); err != nil {
		return nil, errors.Join(err, a.closePools())
	}
	a.leases = external.New(a.db, a.direct, a.kinds, a.log)
	return a, nil
}

func (a *App) openBox() (*sealed.Box, error) {
	if a.opt.Config.SecretKey != "" {
		return sealed.New(a.opt.Config.SecretKey)
	}
	a.log.Warn("secrets of endpoints and sources are stored unencrypted: set SIGNALSTACK_SECRET_KEY, for example to the output of: openssl rand -base64 32")
	return sealed.Plain(), nil
}

func (a *App) openPools() error {
	url, direct := a.opt.Config.DatabaseURL, a.opt.Config.DirectURL
	if direct == "" {
		direct = url
	}
	var err error
	a.db, err = pg.Open(url, pg.Options{Role: role(a.opt), MaxConns: a.opt.Config.DatabaseConns, StatementTimeout: 6 * time.Second})
	if err != nil {
		return err // the other pools would say the same
	}
	a.heartbeat, err = pg.Open(url, pg.Options{Role: role(a.opt) + " heartbeat", MaxConns: 1, StatementTimeout: 3 * time.Second})
	if err != nil {
		return err
	}
	a.direct, err = pg.Open(direct, pg.Options{Role: role(a.opt) + " listen", MaxConns: 1})
	return err
}

func (a *App) closePools() error {
	var errs []error
	for _, db := range []*pg.DB{a.direct, a.heartbeat, a.db} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

func role(opt Options) string {
	switch {
	case opt.Serve && opt.Work:
		return "all"
	case opt.Serve:
		return "serve"
	default:
		return "work"
	}
}

func (a *App) close() {
	if err := a.closePools(); err != nil {
		a.log.Warn("a pool was not closed", "error", err)
	}
}

// awaitSchema waits for the database and refuses one that is too old, or whose
// secrets were sealed with another key: each delivery would fail.
func (a *App) awaitSchema(ctx context.Context) error {
	for try := 0; ; try++ {
		err := pg.CheckSchema(ctx, a.db)
		if ctx.Err() != nil {
			return nil // told to stop while it waited
		}
		if err == nil {
			return a.checkKey(ctx)
		}
		if errors.Is(err, pg.ErrOldSchema) || !pg.IsAway(err) {
			return err
		}
		if try%10 == 0 {
			a.log.WarnContext(ctx, "waiting for the database", "error", err)
		}
		pause(ctx, 500*time.Millisecond)
	}
}

// checkKey looks at the secrets of endpoints and at those of sources.
func (a *App) checkKey(ctx context.Context) error {
	if err := a.endpoints.CheckKey(ctx); err != nil {
		return err
	}
	return a.sources.CheckKey(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// runRoles runs what was asked for; the first role that fails stops the others.
func (a *App) runRoles(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var roles []func(context.Context) error
	if a.opt.Serve {
		l, err := a.listen(ctx)
		if err != nil {
			return err
		}
		roles = append(roles, func(ctx context.Context) error { return a.serve(ctx, l) })
	}
	if a.opt.Work {
		roles = append(roles, a.work)
	}
	errs := make([]error, len(roles))
	var running sync.WaitGroup
	for i, run := range roles {
		running.Go(func() {
			defer stop()
			errs[i] = run(ctx)
		})
	}
	running.Wait()
	a.log.InfoContext(ctx, "stopped")
	return errors.Join(errs...)
}

func (a *App) listen(ctx context.Context) (net.Listener, error) {
	addr := a.opt.Config.Addr
	if addr == "" {
		addr = ":8080"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --addr", addr, err)
	}
	return l, nil
}
