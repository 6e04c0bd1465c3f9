package bulk

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// State is where an operation stands.
type State string

// The states of an operation. All but Running are final.
const (
	Running  State = "running"
	Done     State = "done"
	Canceled State = "canceled"
	Failed   State = "failed"
)

// Operation is one piece of work on many items.
type Operation struct {
	ID         uuid.UUID  `db:"id"`
	Tenant     string     `db:"tenant"`
	Kind       string     `db:"kind"`
	Spec       string     `db:"spec"` // JSON, of the kind
	State      State      `db:"state"`
	Position   string     `db:"position"` // the item after which the next slice begins; "" at first
	Total      *int64     `db:"total"`    // items, nil until all are counted
	Done       int64      `db:"done"`     // items, those that were passed over among them
	Skipped    int64      `db:"skipped"`  // items that could not be done and were passed over
	Made       int64      `db:"made"`     // what came of the items, as their kind counts
	Rate       int        `db:"rate"`     // items a second
	Batch      int        `db:"batch"`    // items of the next slice; 0: pass one over
	Failures   int        `db:"failures"` // in a row
	LastError  string     `db:"last_error"`
	CreatedAt  time.Time  `db:"created_at"`
	StartedAt  *time.Time `db:"started_at"`
	FinishedAt *time.Time `db:"finished_at"`
}

const columns = `id, tenant, kind, spec, state, position, total, done, skipped, made, rate, batch, failures, last_error, created_at, started_at, finished_at`

// MaxRate is the most items a second that an operation may ask for.
const MaxRate = 100_000

// New is an operation to be.
type New struct {
	ID     uuid.UUID // UUIDv7, made by the caller before the first write
	Tenant string
	Kind   string
	Spec   []byte // JSON
	Rate   int    // 1 to MaxRate
}

// Insert makes an operation that workers begin soon after the commit.
func Insert(ctx context.Context, q pg.Querier, n New) (Operation, error) {
	return insert(ctx, q, n, `'running', 0, NULL, 0, 0, NULL, NULL`)
}

// InsertDone records an operation whose items were all done in the caller's
// transaction, so that it is shown with the others.
func InsertDone(ctx context.Context, q pg.Querier, n New, items, made int) (Operation, error) {
	return insert(ctx, q, n, `'done', $7, $7, $7, $8, now(), now()`, items, made)
}

func insert(ctx context.Context, q pg.Querier, n New, state string, args ...any) (Operation, error) {
	var op Operation
	err := q.GetContext(ctx, &op, `
		INSERT INTO signalstack.bulk_operations (id, tenant, kind, spec, rate, batch, position, skipped, failures, last_error,
		                                         due_at, touched_at, created_at, state, counted, total, done, made, started_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, '', 0, 0, '', now(), now(), now(), `+state+`)
		RETURNING `+columns, append([]any{n.ID, n.Tenant, n.Kind, string(n.Spec), n.Rate, maxBatch}, args...)...)
	if err != nil {
		return Operation{}, fmt.Errorf("insert bulk operation: %w", err)
	}
	return op, nil
}

// Get gives an operation of a kind. noun is what the kind's operations are called
// when there is none.
func Get(ctx context.Context, q pg.Querier, kind, noun string, id uuid.UUID) (Operation, error) {
	var op Operation
	err := q.GetContext(ctx, &op, `SELECT `+columns+` FROM signalstack.bulk_operations WHERE id = $1 AND kind = $2`, id, kind)
	if errors.Is(err, sql.ErrNoRows) {
		return Operation{}, fault.Missing(noun, id.String())
	}
	if err != nil {
		return Operation{}, fmt.Errorf("get bulk operation: %w", err)
	}
	return op, nil
}

// Filter narrows a list of operations; zero fields do not.
type Filter struct {
	Kind   string // must be set
	Tenant string
	State  State
	After  string // id of the last operation of the page before
	Limit  int
}

// List gives up to Limit operations, newest first, along the index of their kind.
func List(ctx context.Context, q pg.Querier, f Filter) ([]Operation, error) {
	var ops []Operation
	err := q.SelectContext(ctx, &ops, `
		SELECT `+columns+` FROM signalstack.bulk_operations
		WHERE kind = $1 AND ($2 = '' OR tenant = $2) AND ($3 = '' OR state = $3)
		  AND id < coalesce(nullif($4, '')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
		ORDER BY id DESC
		LIMIT $5`, f.Kind, f.Tenant, string(f.State), f.After, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list bulk operations: %w", err)
	}
	return ops, nil
}

// Cancel ends an operation after the slice in progress, which it waits for. One that
// has ended is a Conflict.
func Cancel(ctx context.Context, db *pg.DB, kind, noun string, id uuid.UUID) (Operation, error) {
	var op Operation
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &op, `
			UPDATE signalstack.bulk_operations SET state = 'canceled', finished_at = now()
			WHERE id = $1 AND kind = $2 AND state = 'running'
			RETURNING `+columns, id, kind)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if op, err = Get(ctx, tx, kind, noun, id); err != nil {
			return err
		}
		return fault.New(fault.Conflict, noun+"_ended", "The %s is %s already.", noun, op.State)
	})
	if err != nil {
		return Operation{}, fmt.Errorf("cancel bulk operation: %w", err)
	}
	return op, nil
}
