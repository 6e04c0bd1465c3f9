package pg

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"io"
)

type aheadKey struct{}

// Ahead has a query without arguments sent along with the BEGIN of the steady
// transactions of ctx, as a round trip of its own costs more than a small query does.
// The transaction asks for it as for any other, by the same text, and gets what it
// gave then: it should be its first one, and small, as all of its rows are kept.
// Behind a pooler it is not sent ahead.
func Ahead(ctx context.Context, query string) context.Context {
	return context.WithValue(ctx, aheadKey{}, query)
}

func aheadOf(ctx context.Context) string {
	query, _ := ctx.Value(aheadKey{}).(string)
	return query
}

// answered is a query that was sent ahead, with its rows; driver.Rows.
type answered struct {
	query   string
	columns []string
	rows    [][]driver.Value
}

// queryAhead runs statements without results and, behind them, the query.
func queryAhead(ctx context.Context, c conn, statements, query string) (a *answered, err error) {
	rows, err := c.QueryContext(ctx, statements+"; "+query, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	a = &answered{query: query, columns: rows.Columns()}
	for {
		row := make([]driver.Value, len(a.columns))
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return a, nil
		case err != nil:
			return nil, err
		}
		for i := range row {
			if b, ok := row[i].([]byte); ok { // the connection's own memory
				row[i] = bytes.Clone(b)
			}
		}
		a.rows = append(a.rows, row)
	}
}

// Columns gives the names; database/sql calls it.
func (a *answered) Columns() []string { return a.columns }

// Close ends the reading; database/sql calls it.
func (a *answered) Close() error { return nil }

// Next gives the next row; database/sql calls it.
func (a *answered) Next(dest []driver.Value) error {
	if len(a.rows) == 0 {
		return io.EOF
	}
	copy(dest, a.rows[0])
	a.rows = a.rows[1:]
	return nil
}
