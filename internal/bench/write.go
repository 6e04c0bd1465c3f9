package bench

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

const (
	// insertBatch is how many jobs one transaction inserts.
	insertBatch = 1000
	// writers is how many insert at once.
	writers = 2
	// waitingBound pauses the writers where jobs are worked as they come, so that the
	// backlog does not grow without end where inserting is faster.
	waitingBound = 20_000
)

// maker makes n jobs, the first of which is the one of a number.
type maker func(first, n int) []queue.NewJob

// jobsOf makes the jobs of a tenant.
func (b *bench) jobsOf(tenant string) maker {
	body := []byte(`"` + string(bytes.Repeat([]byte("x"), b.o.Payload-2)) + `"`)
	return func(_, n int) []queue.NewJob {
		all := make([]queue.NewJob, n)
		for i := range all {
			all[i] = queue.NewJob{
				ID: uuid.Must(uuid.NewV7()), Tenant: tenant, Kind: kindName, Queue: queue.DefaultQueue,
				Priority: queue.DefaultPriority, Payload: body, MaxAttempts: 1, Timeout: time.Minute,
			}
		}
		return all
	}
}

func (b *bench) jobs() maker { return b.jobsOf(httpapi.DefaultTenant) }

// write inserts from all writers until next has no more for them.
func write(ctx context.Context, db *pg.DB, next func() []queue.NewJob) error {
	errs := make([]error, writers)
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for batch := next(); len(batch) > 0 && errs[i] == nil; batch = next() {
				errs[i] = insert(ctx, db, batch)
			}
		})
	}
	writing.Wait()
	return errors.Join(errs...)
}

func insert(ctx context.Context, db *pg.DB, batch []queue.NewJob) error {
	return pg.InSteadyTx(ctx, db, func(tx *sqlx.Tx) error { return jobs.Write(ctx, tx, batch) })
}

// fill inserts n jobs, made batch by batch so that they need not all be in memory.
func fill(ctx context.Context, db *pg.DB, n int, make maker) error {
	var made atomic.Int64
	return write(ctx, db, func() []queue.NewJob {
		first := int(made.Add(insertBatch)) - insertBatch
		if first >= n {
			return nil
		}
		return make(first, min(insertBatch, n-first))
	})
}

// pause waits a moment when the writers are too far ahead, and says so.
func pause(ctx context.Context, inserted, done int64) bool {
	if inserted-done < waitingBound {
		return false
	}
	wait(ctx, time.Millisecond)
	return true
}
