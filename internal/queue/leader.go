package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
)

// Leader runs loops in one worker at a time. Who leads holds a row that it renews;
// another takes over when the row has not been renewed for Lease. Two that both
// believe they lead, as after a pause, must do no harm: the lock saves work, it
// does not make it safe.
type Leader struct {
	DB     *pg.DB
	Log    *slog.Logger
	Duty   string // what is led
	Worker uuid.UUID
	Lease  time.Duration // 9 s when zero
}

// defaultLeadership is how long a leader may be silent.
const defaultLeadership = 9 * time.Second

// Run leads when it can, and runs the loops while it leads, until ctx ends. It
// gives the lead up at the end, so that another need not wait for it.
func (l *Leader) Run(ctx context.Context, loops ...func(context.Context) error) error {
	if l.Lease == 0 {
		l.Lease = defaultLeadership
	}
	tick := time.NewTicker(l.Lease / 3)
	defer tick.Stop()
	var stop func()
	renewed := time.Now()
	for {
		led, err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil && led:
			renewed = time.Now()
			if stop == nil {
				l.Log.InfoContext(ctx, "leading", "duty", l.Duty)
				stop = start(ctx, loops)
			}
		case stop != nil && (err == nil || time.Since(renewed) >= l.Lease):
			l.Log.WarnContext(ctx, "not leading any more", "duty", l.Duty)
			stop()
			stop = nil
		}
		select {
		case <-ctx.Done():
			if stop != nil {
				stop()
				l.resign(ctx)
			}
			return nil
		case <-tick.C:
		}
	}
}

// start runs loops until the function it gives is called, which waits for them.
func start(ctx context.Context, loops []func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, run := range loops {
		running.Go(func() { _ = run(ctx) }) // they end with ctx and log what goes wrong
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// renew takes or keeps the lead. The row of another that has run out is taken over
// in place.
func (l *Leader) renew(ctx context.Context) (bool, error) {
	res, err := l.DB.ExecContext(ctx, `
		INSERT INTO signalstack.leaders AS l (duty, worker, lease_until)
		VALUES ($1, $2, now() + $3 * interval '1 millisecond')
		ON CONFLICT (duty) DO UPDATE SET worker = excluded.worker, lease_until = excluded.lease_until
		WHERE l.worker = excluded.worker OR l.lease_until < now()`, l.Duty, l.Worker, l.Lease.Milliseconds())
	if err != nil {
		return false, fmt.Errorf("renew lead: %w", err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

func (l *Leader) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, err := l.DB.ExecContext(ctx, `DELETE FROM signalstack.leaders WHERE duty = $1 AND worker = $2`, l.Duty, l.Worker)
	if err != nil {
		l.Log.WarnContext(ctx, "the lead could not be given up; another takes it when it runs out", "duty", l.Duty, "error", err)
	}
}
