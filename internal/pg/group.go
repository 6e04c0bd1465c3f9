package pg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
)

// Group commits many callers in one transaction. There is no timer: the commit in
// flight is the window in which the next batch gathers, so one caller alone waits
// for nobody and a crowd shares.
type Group[T, R any] struct {
	commit func(context.Context, []T) []Outcome[R]
	calls  chan call[T, R]
	cfg    GroupConfig[T]
	held   atomic.Int64 // bytes of the items that are not answered
}

// Outcome is what one item of a batch came to.
type Outcome[R any] struct {
	Value R
	Err   error
}

type call[T, R any] struct {
	ctx    context.Context
	item   T
	bytes  int
	answer chan<- Outcome[R]
}

// GroupConfig sizes a group.
type GroupConfig[T any] struct {
	// MaxSize bounds the weight of a batch; one item may exceed it alone.
	MaxSize int
	// MaxWaiting is how many callers may wait; more are refused at once, so that
	// memory stays bounded when the database falls behind.
	MaxWaiting int
	// MaxBytes bounds the memory of the items that wait or are being committed, and
	// MaxBatchBytes that of a batch; one item may exceed either alone. 0 is no bound.
	MaxBytes, MaxBatchBytes int
	// Weight of an item; nil counts each as 1.
	Weight func(T) int
	// Bytes of memory that an item takes; nil counts none.
	Bytes func(T) int
}

// ErrBusy tells a caller that too many wait already; its item will not be committed.
var ErrBusy = &fault.Error{
	Kind: fault.Unavailable, Code: "overloaded", RetryAfter: time.Second,
	Message: "More requests wait for the database than may; nothing was stored. Try again.",
}

// NewGroup makes a group; Run must run for Do to be answered. commit gives one
// outcome for each item, in order.
func NewGroup[T, R any](cfg GroupConfig[T], commit func(context.Context, []T) []Outcome[R]) *Group[T, R] {
	if cfg.Weight == nil {
		cfg.Weight = func(T) int { return 1 }
	}
	if cfg.Bytes == nil {
		cfg.Bytes = func(T) int { return 0 }
	}
	return &Group[T, R]{commit: commit, cfg: cfg, calls: make(chan call[T, R], cfg.MaxWaiting)}
}

// Do gives the item to the next batch and waits for its outcome. When ctx ends
// first the item may still be committed.
func (g *Group[T, R]) Do(ctx context.Context, item T) (R, error) {
	var zero R
	answer := make(chan Outcome[R], 1)
	c := call[T, R]{ctx: ctx, item: item, bytes: g.cfg.Bytes(item), answer: answer}
	if !g.hold(c.bytes) {
		return zero, ErrBusy
	}
	select {
	case g.calls <- c:
	default:
		g.release(c.bytes)
		return zero, ErrBusy
	}
	select {
	case out := <-answer:
		return out.Value, out.Err
	case <-ctx.Done():
		return zero, fault.Away(fmt.Errorf("wait for commit: %w", ctx.Err()), RetryAfter)
	}
}

// hold counts the bytes of an item, unless they are too many beside those of others.
func (g *Group[T, R]) hold(bytes int) bool {
	held := g.held.Add(int64(bytes))
	if g.cfg.MaxBytes > 0 && held > int64(g.cfg.MaxBytes) && held > int64(bytes) {
		g.release(bytes)
		return false
	}
	return true
}

func (g *Group[T, R]) release(bytes int) { g.held.Add(-int64(bytes)) }

// gone says that nobody waits for the outcome of a call any more. It is left out:
// while the database stands still, others would wait behind it for nothing.
func (g *Group[T, R]) gone(c call[T, R]) bool {
	if c.ctx.Err() == nil {
		return false
	}
	g.release(c.bytes)
	return true
}

// Run commits batches with this many writers until ctx ends, then what waits
// still. Stop the callers first.
func (g *Group[T, R]) Run(ctx context.Context, writers int) {
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() { g.write(ctx) })
	}
	wg.Wait()
}

func (g *Group[T, R]) write(ctx context.Context) {
	// The transaction in hand is finished, not cut, when ctx ends.
	txCtx := context.WithoutCancel(ctx)
	var held *call[T, R]
	for {
		if held == nil {
			if held = g.next(ctx); held == nil {
				return
			}
		}
		var batch []call[T, R]
		batch, held = g.gather(*held)
		g.answer(txCtx, batch)
	}
}

// next waits for a caller; nil when ctx has ended and nobody waits.
func (g *Group[T, R]) next(ctx context.Context) *call[T, R] {
	for {
		select {
		case c := <-g.calls:
			if !g.gone(c) {
				return &c
			}
			continue
		case <-ctx.Done():
		}
		select {
		case c := <-g.calls:
			if !g.gone(c) {
				return &c
			}
		default:
			return nil
		}
	}
}

// gather takes what waits now; an item that would make the batch too heavy is
// held for the next one.
func (g *Group[T, R]) gather(first call[T, R]) (batch []call[T, R], held *call[T, R]) {
	batch = append(batch, first)
	size, bytes := g.cfg.Weight(first.item), first.bytes
	for {
		select {
		case c := <-g.calls:
			if g.gone(c) {
				continue
			}
			size, bytes = size+g.cfg.Weight(c.item), bytes+c.bytes
			if size > g.cfg.MaxSize || g.cfg.MaxBatchBytes > 0 && bytes > g.cfg.MaxBatchBytes {
				return batch, &c
			}
			batch = append(batch, c)
		default:
			return batch, nil
		}
	}
}

func (g *Group[T, R]) answer(ctx context.Context, batch []call[T, R]) {
	items := make([]T, len(batch))
	for i, c := range batch {
		items[i] = c.item
	}
	outcomes := g.commitSafely(ctx, items)
	for i, c := range batch {
		g.release(c.bytes)
		c.answer <- outcomes[i]
	}
}

// commitSafely answers the callers also when commit panics.
func (g *Group[T, R]) commitSafely(ctx context.Context, items []T) (outcomes []Outcome[R]) {
	defer func() {
		if p := recover(); p != nil {
			outcomes = FailAll[T, R](items, fmt.Errorf("commit panicked: %v", p))
		}
	}()
	outcomes = g.commit(ctx, items)
	if len(outcomes) != len(items) {
		return FailAll[T, R](items, errors.New("commit gave too few outcomes"))
	}
	return outcomes
}

// FailAll is the outcome of a batch that failed as a whole.
func FailAll[T, R any](items []T, err error) []Outcome[R] {
	outcomes := make([]Outcome[R], len(items))
	for i := range outcomes {
		outcomes[i].Err = err
	}
	return outcomes
}
