package intake

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Steps are what a transaction does with the fresh items of a batch.
type Steps[T any] struct {
	// First is the query that Prepare begins with, word for word: it takes no arguments
	// and travels with the BEGIN.
	First string
	// Prepare settles what only the database knows, such as its time, before the
	// answers are rendered. It sees all items that were not refused before, also those
	// that turn out replayed.
	Prepare func(context.Context, *sqlx.Tx, []T) error
	// Refuse says why a fresh item may not be written, once it is prepared; may be nil.
	Refuse func(T) error
	// Resolve settles the fresh items, before they are rendered; may be nil.
	Resolve func(context.Context, *sqlx.Tx, []T) error
	// Render makes the answer of an item that will be written.
	Render func(T) []byte
	// Write stores fresh items.
	Write func(context.Context, *sqlx.Tx, []T) error
	// Bytes of memory that an item takes until it is answered; nil counts none.
	Bytes func(T) int
	// IDs gives the UUIDv7 ids an item is stored under, for their partitions.
	IDs func(T) []uuid.UUID
}

// Intake commits requests in groups.
type Intake[T any] struct {
	db    *pg.DB
	ttl   time.Duration
	steps Steps[T]
	group *pg.Group[*Request[T], Reply]
	air   flights
}

// Config sizes an intake.
type Config struct {
	KeyTTL     time.Duration // how long an idempotency key is kept
	MaxWaiting int           // requests that may wait for a commit
	MaxBytes   int           // memory that they may take together; 0 is no bound
}

const (
	// maxItems bounds a transaction; it is also the largest array.
	maxItems = 1000
	// maxBatchBytes keeps a transaction of large items well within the time that a
	// statement may take.
	maxBatchBytes = 8 << 20
)

// New makes an intake; Run must run for Do to be answered.
func New[T any](db *pg.DB, cfg Config, steps Steps[T]) *Intake[T] {
	in := &Intake[T]{db: db, ttl: cfg.KeyTTL, steps: steps}
	in.group = pg.NewGroup(pg.GroupConfig[*Request[T]]{
		MaxSize: maxItems, MaxWaiting: cfg.MaxWaiting, MaxBytes: cfg.MaxBytes, MaxBatchBytes: maxBatchBytes,
		Weight: func(r *Request[T]) int { return len(r.Items) },
		Bytes:  in.bytesOf,
	}, in.commit)
	return in
}

// bytesOf is the memory of a request.
func (in *Intake[T]) bytesOf(r *Request[T]) int {
	bytes := 0
	if in.steps.Bytes != nil {
		for _, item := range r.Items {
			if item.Refusal == nil {
				bytes += in.steps.Bytes(item.Value)
			}
		}
	}
	return bytes
}

// Run commits until ctx ends and nobody waits.
func (in *Intake[T]) Run(ctx context.Context) { in.group.Run(ctx, 1) }

// patience is how long a caller waits for a commit. With the time of the request
// itself it stays below the ten seconds after which callers give up.
const patience = 9 * time.Second

// Do stores a request and gives the answer to it. The error is that of a request of
// which nothing was stored, as far as is known.
func (in *Intake[T]) Do(ctx context.Context, r *Request[T]) (Reply, error) {
	// What is refused already need not wait for the database, nor be in the way of
	// another request with its keys.
	if err := r.refusedAlready(); err != nil {
		return Reply{}, err
	}
	if err := r.board(&in.air); err != nil {
		return Reply{}, err
	}
	if err := r.refusedAlready(); err != nil {
		r.land(&in.air)
		return Reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reply, err := in.group.Do(ctx, r)
	if errors.Is(err, pg.ErrBusy) {
		r.land(&in.air) // no commit will
	}
	return reply, err
}

// commit stores a batch. Requests that must see what others of the batch leave
// behind are taken up in a second round.
func (in *Intake[T]) commit(ctx context.Context, batch []*Request[T]) []pg.Outcome[Reply] {
	defer func() {
		for _, r := range batch {
			r.land(&in.air)
		}
	}()
	outcomes := make([]pg.Outcome[Reply], len(batch))
	todo := make([]int, len(batch))
	for i := range batch {
		todo[i] = i
	}
	for len(todo) > 0 {
		requests := make([]*Request[T], len(todo))
		for i, at := range todo {
			requests[i] = batch[at]
		}
		postponed, err := in.store(ctx, requests)
		if err != nil && len(requests) > 1 && pg.IsBadData(err) {
			in.storeApart(ctx, requests)
			postponed, err = nil, nil
		}
		var again []int
		for i, at := range todo {
			switch {
			case err != nil:
				outcomes[at].Err = pg.Fault(err)
			case postponed[requests[i]]:
				again = append(again, at)
			default:
				outcomes[at] = requests[i].outcome()
			}
		}
		todo = again
	}
	return outcomes
}

// storeApart stores each request in a transaction of its own and leaves what went
// wrong with it.
func (in *Intake[T]) storeApart(ctx context.Context, requests []*Request[T]) {
	for _, r := range requests {
		if _, err := in.store(ctx, []*Request[T]{r}); err != nil {
			r.err = pg.Fault(err)
		}
	}
}

func (r *Request[T]) outcome() pg.Outcome[Reply] {
	switch {
	case r.err != nil:
		return pg.Outcome[Reply]{Err: r.err}
	case r.reply == nil:
		reply := r.answered()
		r.reply = &reply
	}
	return pg.Outcome[Reply]{Value: *r.reply}
}

// storeTries bounds how often a batch is tried that lost a key to another process
// or found no partition.
const storeTries = 4

func (in *Intake[T]) store(ctx context.Context, requests []*Request[T]) (postponed map[*Request[T]]bool, err error) {
	for range storeTries {
		err = pg.InSteadyTx(pg.Ahead(ctx, in.steps.First), in.db, func(tx *sqlx.Tx) error {
			postponed, err = in.storeInTx(ctx, tx, requests)
			return err
		})
		switch {
		case errors.Is(err, errKeyTaken):
		case pg.IsNoPartition(err):
			if err := in.makePartitions(ctx, requests); err != nil {
				return nil, err
			}
		default:
			return postponed, err
		}
	}
	return nil, err
}

func (in *Intake[T]) makePartitions(ctx context.Context, requests []*Request[T]) error {
	days := map[time.Time]bool{}
	var times []time.Time
	for _, r := range requests {
		for _, item := range r.Items {
			if item.Refusal != nil {
				continue
			}
			for _, id := range in.steps.IDs(item.Value) {
				day := queue.IDTime(id).UTC().Truncate(24 * time.Hour)
				if !days[day] {
					days[day] = true
					times = append(times, day)
				}
			}
		}
	}
	return queue.EnsurePartitions(ctx, in.db, times...)
}

func (in *Intake[T]) storeInTx(ctx context.Context, tx *sqlx.Tx, requests []*Request[T]) (map[*Request[T]]bool, error) {
	var all []T
	for _, r := range requests {
		r.reset()
		for _, item := range r.Items {
			if item.Refusal == nil {
				all = append(all, item.Value)
			}
		}
	}
	if err := in.steps.Prepare(ctx, tx, all); err != nil {
		return nil, err
	}
	postponed, err := admit(ctx, tx, requests)
	if err != nil {
		return nil, err
	}
	if in.steps.Refuse != nil {
		for _, r := range requests {
			r.refuseFresh(in.steps.Refuse)
		}
	}
	var values []T
	for _, r := range requests {
		for _, item := range r.taken() {
			values = append(values, item.Value)
		}
	}
	if in.steps.Resolve != nil {
		if err := in.steps.Resolve(ctx, tx, values); err != nil {
			return nil, err
		}
	}
	if err := reserve(ctx, tx, in.render(requests, postponed), in.ttl); err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return postponed, nil
	}
	return postponed, in.steps.Write(ctx, tx, values)
}

// taken are the items that will be stored.
func (r *Request[T]) taken() []*Item[T] {
	if r.settled() {
		return nil
	}
	var taken []*Item[T]
	for _, item := range r.Items {
		if item.verdict == fresh {
			taken = append(taken, item)
		}
	}
	return taken
}

// render makes the answers and gives the keys to keep them under.
func (in *Intake[T]) render(requests []*Request[T], postponed map[*Request[T]]bool) []idempotency.Reservation {
	var wanted []idempotency.Reservation
	for _, r := range requests {
		for _, item := range r.taken() {
			item.status, item.answer = http.StatusCreated, in.steps.Render(item.Value)
			for _, k := range item.Keys {
				k.Status, k.Answer = item.status, item.answer
				wanted = append(wanted, k)
			}
		}
		if r.Key != nil && !r.settled() && !postponed[r] {
			reply := r.answered()
			k := *r.Key
			k.Status, k.Answer = reply.Status, reply.Body
			wanted = append(wanted, k)
			r.reply = &reply
		}
	}
	return wanted
}
