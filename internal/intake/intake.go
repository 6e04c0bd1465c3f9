package intake

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Item is one value of a request with the keys that protect it.
type Item[T any] struct {
	Value T
	Keys  []idempotency.Reservation
	// Alone names what no other item of the same transaction may have to do with; the
	// zero key is nothing. The later item is then committed after the first.
	Alone idempotency.Key

	verdict verdict
	answer  []byte
	err     error
}

type verdict int

const (
	undecided verdict = iota
	fresh
	replayed
	refused
)

// Request is one caller's items.
type Request[T any] struct {
	Items []*Item[T]
}

// Answer is what a caller gets for one item.
type Answer struct {
	Body     []byte // JSON
	Replayed bool   // it was given before
}

// Steps are what a transaction does with the fresh items of a batch.
type Steps[T any] struct {
	// First is the query that Prepare begins with, word for word: it takes no arguments
	// and travels with the BEGIN.
	First string
	// Prepare settles what only the database knows, such as its time, before the
	// answers are rendered. It sees all items, also those that turn out replayed.
	Prepare func(context.Context, *sqlx.Tx, []T) error
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
	group *pg.Group[*Request[T], []Answer]
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
			bytes += in.steps.Bytes(item.Value)
		}
	}
	return bytes
}

// Run commits until ctx ends and nobody waits.
func (in *Intake[T]) Run(ctx context.Context) { in.group.Run(ctx, 1) }

// patience is how long a caller waits for a commit. With the time of the request
// itself it stays below the ten seconds after which callers give up.
const patience = 9 * time.Second

// Do stores a request and gives an answer for each item, in order.
func (in *Intake[T]) Do(ctx context.Context, r *Request[T]) ([]Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return in.group.Do(ctx, r)
}

// commit stores a batch. Requests that must see what others of the batch leave
// behind are taken up in a second round.
func (in *Intake[T]) commit(ctx context.Context, batch []*Request[T]) []pg.Outcome[[]Answer] {
	outcomes := make([]pg.Outcome[[]Answer], len(batch))
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
// wrong with its items.
func (in *Intake[T]) storeApart(ctx context.Context, requests []*Request[T]) {
	for _, r := range requests {
		if _, err := in.store(ctx, []*Request[T]{r}); err != nil {
			for _, item := range r.Items {
				item.verdict, item.err = refused, pg.Fault(err)
			}
		}
	}
}

func (r *Request[T]) outcome() pg.Outcome[[]Answer] {
	answers := make([]Answer, len(r.Items))
	for i, item := range r.Items {
		if item.err != nil {
			return pg.Outcome[[]Answer]{Err: item.err}
		}
		answers[i] = Answer{Body: item.answer, Replayed: item.verdict == replayed}
	}
	return pg.Outcome[[]Answer]{Value: answers}
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
		for _, item := range r.Items {
			item.verdict, item.err, item.answer = undecided, nil, nil
			all = append(all, item.Value)
		}
	}
	if err := in.steps.Prepare(ctx, tx, all); err != nil {
		return nil, err
	}
	postponed, err := admit(ctx, tx, requests)
	if err != nil {
		return nil, err
	}
	var values []T
	var taken []*Item[T]
	for _, r := range requests {
		for _, item := range r.Items {
			if item.verdict == fresh {
				values, taken = append(values, item.Value), append(taken, item)
			}
		}
	}
	if in.steps.Resolve != nil {
		if err := in.steps.Resolve(ctx, tx, values); err != nil {
			return nil, err
		}
	}
	var wanted []idempotency.Reservation
	for _, item := range taken {
		item.answer = in.steps.Render(item.Value)
		for _, k := range item.Keys {
			k.Answer = item.answer
			wanted = append(wanted, k)
		}
	}
	if err := reserve(ctx, tx, wanted, in.ttl); err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return postponed, nil
	}
	return postponed, in.steps.Write(ctx, tx, values)
}
