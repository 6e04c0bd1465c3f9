package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/external"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/recovery"
	"github.com/signalstack/signalstack/internal/replays"
	"github.com/signalstack/signalstack/internal/schedules"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// What bounds the memory of a crowd of callers while the database is slow: how many
// may wait for a commit, and how many bytes they may hold, as bodies and as what waits.
// More are told to come again.
const (
	maxWaiting = 2048
	maxHeld    = 64 << 20
)

// serve is the role of the HTTP API.
func (a *App) serve(ctx context.Context, l net.Listener) error {
	cfg := intake.Config{KeyTTL: a.opt.Config.IdempotencyTTL, MaxWaiting: maxWaiting, MaxBytes: maxHeld}
	acceptor := events.NewAcceptor(a.db, cfg, a.kinds, a.log)
	creator := jobs.NewIntake(a.db, cfg)
	api := httpapi.New(httpapi.Config{
		Version: a.opt.Version, MaxBody: int64(a.opt.Config.MaxBody), MaxBodies: max(maxHeld, 2*int64(a.opt.Config.MaxBody)), Log: a.log, Fault: pg.Fault,
		Access: a.access(),
	})
	a.routes(api, acceptor, &jobs.API{DB: a.db, Kinds: a.kinds, Intake: creator, KnownEndpoints: a.knownEndpoints})

	// The intakes end after the server, whose last requests they answer.
	intakes, stopIntakes := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { acceptor.Run(intakes) })
	running.Go(func() { creator.Run(intakes) })
	running.Go(func() { a.sources.Run(intakes) })
	if a.ring.On() {
		running.Go(func() { a.ring.Run(intakes, a.direct) })
	}
	running.Go(func() { a.leases.Run(intakes) })
	// Nobody waits for jobs any more once the process is told to stop.
	defer context.AfterFunc(ctx, a.leases.Close)()
	defer running.Wait()
	defer stopIntakes()

	server := &http.Server{
		Handler: api.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 64 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	url := LocalURL(l.Addr().String())
	a.log.InfoContext(ctx, "serving", "url", url)
	if !a.ring.On() && (!a.opt.Work || !isLoopback(l.Addr())) {
		a.log.WarnContext(ctx, "requests need no API key, and whoever reaches this address may do everything: set SIGNALSTACK_ADMIN_KEY, for example to the output of: openssl rand -hex 32")
	}
	if a.opt.Ready != nil {
		a.opt.Ready(url)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return a.shutdown(ctx, server, api)
}

// isLoopback says that only this machine reaches an address.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func (a *App) replays() *replays.API {
	return &replays.API{DB: a.db, Replayer: replays.NewReplayer(a.db, a.kinds, a.log), KeyTTL: a.opt.Config.IdempotencyTTL}
}

func (a *App) schedules() *schedules.API {
	return &schedules.API{DB: a.db, Maker: a.scheduleMaker(), KeyTTL: a.opt.Config.IdempotencyTTL}
}

func (a *App) scheduleMaker() *schedules.Maker {
	return &schedules.Maker{Kinds: a.kinds, Events: events.NewWriter(a.kinds, a.opt.Config.IdempotencyTTL, a.log)}
}

func (a *App) recovery() *recovery.API {
	return &recovery.API{DB: a.db, KeyTTL: a.opt.Config.IdempotencyTTL}
}

func (a *App) knownEndpoints(ctx context.Context, tenant string, ids []uuid.UUID) (map[uuid.UUID]func(*queue.NewJob), error) {
	return webhooks.KnownInOrder(ctx, a.db, tenant, ids)
}

// lameDuck is how long a stopping server goes on serving while requests come.
const lameDuck = 5 * time.Second

// shutdown lets requests in flight finish. Readiness says no from the first
// moment, and the server goes on answering for as long as somebody may need to
// hear that: while jobs run in this process, and while requests still come.
func (a *App) shutdown(ctx context.Context, server *http.Server, api *httpapi.API) error {
	a.draining.Store(true)
	a.log.InfoContext(ctx, "stopping: finishing what is in flight")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opt.Config.ShutdownGrace)
	defer cancel()
	go func() {
		select {
		case <-a.opt.Cut:
			cancel()
		case <-grace.Done():
		}
	}()
	select {
	case <-a.worked:
	case <-grace.Done():
	}
	for end := time.Now().Add(lameDuck); api.InFlight() > 0 && time.Now().Before(end) && grace.Err() == nil; {
		pause(grace, 20*time.Millisecond)
	}
	if err := server.Shutdown(grace); err != nil {
		a.log.WarnContext(ctx, "requests were cut off", "error", err)
		return ignoreClosed(server.Close())
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// poll is how often a worker looks for jobs by itself; notifications tell it sooner.
const poll = 2 * time.Second

// bulkPoll is how often a worker looks for operations in the background, which are few.
const bulkPoll = 3 * time.Second

// keepBulk is how long they are shown after their end.
const keepBulk = 30 * 24 * time.Hour

// work is the role that runs the jobs and keeps the tables in order.
func (a *App) work(ctx context.Context) error {
	defer close(a.worked)
	cfg := a.opt.Config
	for name := range cfg.Queues {
		if queue.IsExternalQueue(name) {
			return fmt.Errorf("SIGNALSTACK_QUEUES: %s is for jobs of the kind external, which are claimed with POST /jobs/claim and not run here; leave it out", name)
		}
	}
	runner := jobs.NewRunner(jobs.RunnerConfig{
		Queues: cfg.Queues, Lease: cfg.Lease, Poll: poll, FullPass: 10 * time.Second,
		Grace: cfg.ShutdownGrace, Cut: a.opt.Cut, Listen: a.direct,
	}, a.db, a.heartbeat, a.kinds, a.log)
	a.log.InfoContext(ctx, "working", "queues", cfg.Queues)
	outbox := events.NewOutbox(events.OutboxConfig{KeyTTL: cfg.IdempotencyTTL, Listen: a.direct}, a.db, a.kinds, a.log)
	inBulk := []bulk.Kind{replays.NewReplayer(a.db, a.kinds, a.log).Bulk(), recovery.Bulk()}
	batches := &bulk.Runner{DB: a.db, Log: a.log, Kinds: inBulk, Poll: bulkPoll}
	firer := &schedules.Firer{DB: a.db, Listen: a.direct, Maker: a.scheduleMaker(), Log: a.log}
	errs := make([]error, 6)
	var running sync.WaitGroup
	running.Go(func() { errs[0] = runner.Run(ctx) })
	running.Go(func() { errs[1] = a.reaper().Run(ctx) })
	running.Go(func() { errs[2] = a.upkeep(ctx) })
	running.Go(func() { errs[3] = outbox.Run(ctx) })
	running.Go(func() { errs[4] = batches.Run(ctx) })
	running.Go(func() { errs[5] = firer.Run(ctx) })
	running.Wait()
	return errors.Join(errs...)
}

// reaper runs in every worker: were it led, the jobs of a worker that led would
// wait for a new leader first.
func (a *App) reaper() *queue.Reaper {
	lease := a.opt.Config.Lease
	return &queue.Reaper{DB: a.db, Log: a.log, Interval: min(2*time.Second, lease/3), Lease: lease}
}

// upkeep is what one worker at a time does for all.
func (a *App) upkeep(ctx context.Context) error {
	leader := &queue.Leader{DB: a.db, Log: a.log, Duty: "upkeep", Worker: uuid.Must(uuid.NewV7())}
	partitioner := &queue.Partitioner{DB: a.db, Log: a.log}
	canceler := &queue.CancelSweeper{DB: a.db, Log: a.log}
	flows := &queue.FlowSweeper{DB: a.db, Log: a.log}
	folder := &analytics.Folder{DB: a.db, Log: a.log}
	sweeper := &idempotency.Sweeper{DB: a.db, Log: a.log, Interval: 10 * time.Minute}
	expirer := &events.Expirer{DB: a.db, Log: a.log, Default: a.opt.Config.RetentionEvents}
	ended := &bulk.Sweeper{DB: a.db, Log: a.log, Keep: keepBulk}
	left := &external.Sweeper{DB: a.db, Log: a.log, Interval: 10 * time.Minute}
	fired := &schedules.Sweeper{DB: a.db, Log: a.log, Keep: a.keepFires()}
	return leader.Run(ctx, partitioner.Run, canceler.Run, flows.Run, folder.Run, sweeper.Run, ended.Run, left.Run, fired.Run, a.retention().Run, expirer.Run, a.eraser().Run, a.reseal)
}

// keepFires is as long as any job is kept; zero is for ever.
func (a *App) keepFires() time.Duration {
	cfg := a.opt.Config
	if cfg.RetentionSucceeded == 0 || cfg.RetentionFailed == 0 {
		return 0
	}
	return max(cfg.RetentionSucceeded, cfg.RetentionFailed)
}

// reseal brings stored secrets under the first of the configured keys, once: keys
// change with a restart only.
func (a *App) reseal(ctx context.Context) error {
	n, err := a.endpoints.Reseal(ctx)
	if n > 0 {
		a.log.InfoContext(ctx, "secrets were encrypted with the present key", "endpoints", n)
	}
	if err != nil && ctx.Err() == nil {
		a.log.WarnContext(ctx, "some secrets are not encrypted with the present key", "error", err)
	}
	<-ctx.Done()
	return nil
}

func (a *App) eraser() *events.Eraser {
	return &events.Eraser{DB: a.db, Log: a.log, KeyTTL: a.opt.Config.IdempotencyTTL}
}

func (a *App) retention() *queue.Retention {
	cfg := a.opt.Config
	queues := make(map[string]queue.Periods, len(cfg.RetentionQueues))
	for name, own := range cfg.RetentionQueues {
		queues[name] = queue.Periods(own)
	}
	return &queue.Retention{
		DB: a.db, Log: a.log, Keep: queue.Periods{Succeeded: cfg.RetentionSucceeded, Failed: cfg.RetentionFailed}, Queues: queues, Events: cfg.RetentionEvents,
		Exchanges: cfg.RetentionExchanges,
	}
}
