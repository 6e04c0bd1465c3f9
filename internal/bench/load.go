package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

const (
	// sampleEvery is how often the jobs done are counted.
	sampleEvery = 250 * time.Millisecond
	// probeEvery is how often a claim is timed, probeLimit how many jobs it asks for, and
	// probedTx how long ago the transaction began that it is told of.
	probeEvery = 100 * time.Millisecond
	probeLimit = 10
	probedTx   = 50 * time.Millisecond
)

// load is jobs that come and go at a rate, with what was seen of them.
//
// Claims are timed with a claimer of our own, in the part of a second worker on the
// same queue: its claims read the same lane of the same index, past the same dead
// rows, and are timed as their caller sees them, commit included. A probe of a queue
// of its own would walk a part of the index that nobody wears out.
type load struct {
	s        *scratch
	worker   *worker
	end      context.CancelFunc
	running  sync.WaitGroup
	inserted atomic.Int64
	probed   atomic.Int64 // jobs that the probe did

	mu     sync.Mutex
	err    error
	counts []counted
	claims []claimed
}

// counted is how many jobs were done at a time.
type counted struct {
	at   time.Time
	done int64
}

// claimed is how long a claim took.
type claimed struct {
	at   time.Time
	took time.Duration
}

func (s *scratch) startLoad(ctx context.Context) (*load, error) {
	l := &load{s: s}
	var err error
	if l.worker, err = s.startWorker(ctx, s.o.Slots, func(context.Context, jobs.Job) {}); err != nil {
		return nil, err
	}
	ctx, l.end = context.WithCancel(ctx)
	for _, run := range []func(context.Context, *pg.DB) error{l.offer, l.probe} {
		l.running.Go(func() {
			err := s.withPool(func(db *pg.DB) error { return run(ctx, db) })
			if ctx.Err() == nil {
				l.fail(err)
			}
		})
	}
	l.running.Go(func() { l.sample(ctx) })
	return l, nil
}

// stop ends the load; jobs that wait are left.
func (l *load) stop() error {
	l.end()
	l.running.Wait()
	return errors.Join(l.failed(), l.worker.stop())
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

func (l *load) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *load) done() int64 { return l.worker.done() + l.probed.Load() }

// offer inserts by the clock: what is due is inserted, in larger batches where the
// server is slow, until too much waits.
func (l *load) offer(ctx context.Context, db *pg.DB) error {
	start, make := time.Now(), l.s.jobs()
	var mu sync.Mutex
	due := func() int {
		mu.Lock()
		defer mu.Unlock()
		sent := l.inserted.Load()
		n := min(int64(time.Since(start).Seconds()*float64(l.s.o.Rate))-sent, insertBatch)
		if n > 0 {
			l.inserted.Add(n)
		}
		return int(n)
	}
	return write(ctx, db, func() []queue.NewJob {
		for ctx.Err() == nil {
			if pause(ctx, l.inserted.Load(), l.done()) {
				continue
			}
			if n := due(); n > 0 {
				// Two writers that each wait this long insert a hundred batches a second.
				wait(ctx, 20*time.Millisecond)
				return make(0, n)
			}
			wait(ctx, time.Millisecond)
		}
		return nil
	})
}

func (l *load) sample(ctx context.Context) {
	for ctx.Err() == nil {
		done := l.done()
		l.mu.Lock()
		l.counts = append(l.counts, counted{time.Now(), done})
		l.mu.Unlock()
		wait(ctx, sampleEvery)
	}
}
