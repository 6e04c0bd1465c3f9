package pg

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// steadySettings hold plans to the indexes that their statements were written for.
// Statistics of a table that swings between empty and a million rows are mostly
// wrong, and a sequential scan or a sort chosen by them would stop the queue. The
// plan is made without looking at the arguments, so that it can be kept.
const steadySettings = `SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; ` +
	`SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_generic_plan`

// steadyMost bounds the plans that a connection keeps. There are far fewer
// statements, as none is made of its arguments.
const steadyMost = 200

type steadyKey struct{}

// InSteadyTx is InTx for what runs all the time and knows its indexes: no statement
// of f is planned by statistics, and connections to the server itself plan each of
// them once. Through a pooler each is planned each time, as the next transaction may
// have another server connection, which knows no plan of ours.
func InSteadyTx(ctx context.Context, db *DB, f func(*sqlx.Tx) error) error {
	return InTx(context.WithValue(ctx, steadyKey{}, true), db, f)
}

// HoldPlans holds the plans of the rest of a transaction to indexes.
func HoldPlans(ctx context.Context, tx *sqlx.Tx) error {
	if _, err := tx.ExecContext(ctx, steadySettings); err != nil {
		return fmt.Errorf("set planner: %w", err)
	}
	return nil
}

func isSteady(ctx context.Context) bool { return ctx.Value(steadyKey{}) != nil }

type keptKey struct{}

// Kept is for a read outside a transaction that runs all the time: with this context a
// connection to the server itself plans it once.
func Kept(ctx context.Context) context.Context { return context.WithValue(ctx, keptKey{}, true) }

func isKept(ctx context.Context) bool { return ctx.Value(keptKey{}) != nil }

// serverConn is a connection to the server itself. It prepares the statements of
// steady transactions and those of Kept, and keeps them.
type serverConn struct {
	conn
	pooled   func() // says that a pooler stands between, after all
	steady   bool   // a steady transaction is open
	ahead    *answered
	prepared map[string]driver.Stmt
	stale    bool // what is prepared is of no use any more
}

// BeginTx begins a transaction; database/sql calls it. The settings go with the
// BEGIN, as a round trip of their own would cost as much as a small statement.
//
// lib/pq is not given the end of ctx: it would watch it until the COMMIT, and again,
// to a panic, at the COMMIT of a transaction that was begun by a statement.
// database/sql rolls back when ctx ends, and each statement has its own.
func (c *serverConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if !isSteady(ctx) || opts != (driver.TxOptions{}) {
		return c.conn.BeginTx(context.WithoutCancel(ctx), opts)
	}
	begin, err := "BEGIN READ WRITE; "+steadySettings, error(nil)
	if ahead := aheadOf(ctx); ahead != "" {
		c.ahead, err = queryAhead(ctx, c.conn, begin, ahead)
	} else {
		_, err = c.conn.ExecContext(ctx, begin, nil)
	}
	if err != nil {
		_ = c.conn.Rollback() // the connection may be used again
		return nil, err
	}
	c.steady = true
	return c, nil
}

// Commit ends a steady transaction; database/sql calls it.
func (c *serverConn) Commit() error {
	c.steady, c.ahead = false, nil
	return c.conn.Commit()
}

// Rollback ends a steady transaction; database/sql calls it.
func (c *serverConn) Rollback() error {
	c.steady, c.ahead = false, nil
	return c.conn.Rollback()
}

// QueryContext runs a statement that gives rows; database/sql calls it.
func (c *serverConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if a := c.ahead; a != nil && a.query == query && len(args) == 0 {
		c.ahead = nil
		return a, nil
	}
	statement, err := c.statement(ctx, query, args)
	switch {
	case err != nil:
		return nil, err
	case statement == nil:
		return c.conn.QueryContext(ctx, query, args)
	}
	rows, err := statement.(driver.StmtQueryContext).QueryContext(ctx, args)
	return rows, c.judge(err)
}

// ExecContext runs a statement that gives none; database/sql calls it.
func (c *serverConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	statement, err := c.statement(ctx, query, args)
	switch {
	case err != nil:
		return nil, err
	case statement == nil:
		return c.conn.ExecContext(ctx, query, args)
	}
	result, err := statement.(driver.StmtExecContext).ExecContext(ctx, args)
	return result, c.judge(err)
}

// statement gives the prepared form of a statement, nil when it is to be run as it
// is.
func (c *serverConn) statement(ctx context.Context, query string, args []driver.NamedValue) (driver.Stmt, error) {
	if !c.steady && !isKept(ctx) || len(args) == 0 {
		return nil, nil
	}
	if statement, ok := c.prepared[query]; ok {
		return statement, nil
	}
	if len(c.prepared) >= steadyMost {
		return nil, nil
	}
	statement, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, c.judge(err)
	}
	if c.prepared == nil {
		c.prepared = map[string]driver.Stmt{}
	}
	c.prepared[query] = statement
	return statement, nil
}

// judge gives the connection up when what it has prepared is gone from the server,
// or no longer fits the tables. The transaction is run again on another one, and so is
// a read outside of one, by database/sql: nothing of it has run.
func (c *serverConn) judge(err error) error {
	if !isStalePlan(err) {
		return err
	}
	c.stale = true
	if code(err) != featureNotSupported {
		c.pooled()
	}
	if !c.steady {
		return driver.ErrBadConn
	}
	return err
}

// IsValid says whether the connection may go back to the pool; database/sql calls it.
func (c *serverConn) IsValid() bool { return !c.stale && c.conn.IsValid() }

// isStalePlan says whether a prepared statement cannot be used: a migration changed
// what it gives, or a pooler that passes parameters on has changed the server
// connection beneath it, which knows no such statement or has one of the same name.
func isStalePlan(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	if !ok {
		return false
	}
	switch string(e.Code) {
	case invalidStatementName, duplicateStatement:
		return true
	case featureNotSupported:
		return strings.Contains(e.Message, "cached plan")
	}
	return false
}
