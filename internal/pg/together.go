package pg

import (
	"context"
	"strconv"
	"strings"
)

// Write is a statement that only writes, with its arguments. Its result is of no
// interest.
type Write struct {
	SQL  string
	Args []any
}

// Run runs the statement.
func (w Write) Run(ctx context.Context, q Querier) error {
	_, err := q.ExecContext(ctx, w.SQL, w.Args...)
	return err
}

// Together makes one statement of several, as each one of its own would cost a round
// trip, which at most times is longer than its work. The others become common table
// expressions of the main one: all see the tables as they were before, so none may
// need what another writes. The others must not begin with WITH; the main one may.
func Together(main Write, others ...Write) Write {
	if len(others) == 0 {
		return main
	}
	var text strings.Builder
	args := main.Args
	for i, w := range others {
		text.WriteString([]string{"WITH also_", ", also_"}[min(i, 1)])
		text.WriteString(strconv.Itoa(i + 1))
		text.WriteString(" AS (")
		renumber(&text, w.SQL, len(args))
		text.WriteString(")")
		args = append(args[:len(args):len(args)], w.Args...)
	}
	if rest, ok := strings.CutPrefix(strings.TrimSpace(main.SQL), "WITH "); ok {
		text.WriteString(", " + rest)
	} else {
		text.WriteString(" " + main.SQL)
	}
	return Write{SQL: text.String(), Args: args}
}

// renumber writes a statement whose parameters come after so many others.
func renumber(to *strings.Builder, statement string, before int) {
	for {
		at := strings.IndexByte(statement, '$')
		if at < 0 {
			to.WriteString(statement)
			return
		}
		to.WriteString(statement[:at+1])
		statement = statement[at+1:]
		digits := 0
		for digits < len(statement) && statement[digits] >= '0' && statement[digits] <= '9' {
			digits++
		}
		if n, err := strconv.Atoi(statement[:digits]); err == nil {
			to.WriteString(strconv.Itoa(n + before))
			statement = statement[digits:]
		}
	}
}
