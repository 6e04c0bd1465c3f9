package pg

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Querier is a pool or a transaction; stores take it and never begin one.
type Querier interface {
	sqlx.ExtContext
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	SelectContext(ctx context.Context, dest any, query string, args ...any) error
}

// txTries bounds how often a transaction that lost a conflict is run.
const txTries = 5

// InTx runs f in a transaction and commits it. When f fails or panics nothing
// stays. A transaction that lost to a deadlock or a serialization failure is run
// again, so f must have no other effects. After an error of COMMIT itself nobody
// knows whether the transaction happened; Fault tells that apart from the errors
// before it.
func InTx(ctx context.Context, db *DB, f func(*sqlx.Tx) error) error {
	for try := 1; ; try++ {
		err := inTx(ctx, db, f)
		if code(err) == readOnlyTransaction {
			db.redial()
		}
		if err == nil || try == txTries || !isConflict(err) {
			return err
		}
	}
}

func inTx(ctx context.Context, db *DB, f func(*sqlx.Tx) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return &txError{err: fmt.Errorf("begin: %w", err), undone: true}
	}
	done := false
	defer func() {
		if done {
			return
		}
		if p := recover(); p != nil {
			_ = tx.Rollback() // the panic is what the caller must learn
			panic(p)
		}
	}()
	err = f(tx)
	done = true
	if err != nil {
		if IsAway(err) {
			err = &txError{err: err, undone: true}
		}
		if rb := tx.Rollback(); rb != nil && !errors.Is(rb, sql.ErrTxDone) {
			return errors.Join(err, fmt.Errorf("roll back: %w", rb))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return &txError{err: fmt.Errorf("commit: %w", err)}
	}
	return nil
}

// conn is what lib/pq's connections are.
type conn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Tx
	driver.Validator
}

// pooledConn bounds each transaction by itself, as its parameters do not reach the
// server. The bounds go with the BEGIN: a round trip of their own would make a small
// transaction half as long again.
type pooledConn struct {
	conn
	bounds string
}

// BeginTx begins a transaction; database/sql calls it.
func (c pooledConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if opts == (driver.TxOptions{}) {
		begin := "BEGIN READ WRITE; " + c.bounds
		if isSteady(ctx) {
			begin += "; " + steadySettings
		}
		return c.bound(ctx, begin)
	}
	// Without the end of ctx, for the reason given at serverConn.BeginTx.
	if _, err := c.conn.BeginTx(context.WithoutCancel(ctx), opts); err != nil {
		return nil, err
	}
	return c.bound(ctx, c.bounds)
}

func (c pooledConn) bound(ctx context.Context, query string) (driver.Tx, error) {
	if _, err := c.ExecContext(ctx, query, nil); err != nil {
		_ = c.Rollback() // the connection may be used again
		return nil, err
	}
	return c.conn, nil
}
