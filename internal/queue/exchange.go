package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
)

// exchangeStep is how many jobs' attempts one statement looks at: a few thousand rows,
// whose locks are held for milliseconds and are wanted by nobody but who erases.
const exchangeStep = 2000

// expireExchanges empties the exchanges of attempts that ended longer than the period
// ago: requests and responses are what takes the room, and what is least wanted on
// record for long. The attempt stays, with its outcome, error, status and class, for as
// long as its job.
//
// A partition is read in the order of its keys. One in which nothing young is left is
// remembered for a day, as attempts of its jobs may still come.
func (r *Retention) expireExchanges(ctx context.Context, days []partitionDay, now time.Time) error {
	if r.Exchanges == 0 {
		return nil
	}
	var problems []error
	for _, d := range days {
		p := attemptsOf(d)
		// A partition ahead of the clock, or of today, has nothing that is old enough.
		if !d.tables["attempts"] || now.Sub(d.day) < r.Exchanges || now.Before(r.expired[p.name()]) {
			continue
		}
		emptied, err := p.expire(ctx, r.DB, now.Add(-r.Exchanges))
		if gaveWay(err) { // dropped or rewritten by the worker that led before
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("empty exchanges of %s: %w", p.name(), err))
			if r.DB.PingContext(ctx) != nil {
				break
			}
			continue
		}
		if emptied > 0 {
			r.Log.InfoContext(ctx, "old requests and responses removed", "table", p.name(), "attempts", emptied)
		}
		if now.Sub(d.day.Add(24*time.Hour)) >= r.Exchanges {
			if r.expired == nil {
				r.expired = map[string]time.Time{}
			}
			r.expired[p.name()] = now.Add(min(lookAgain, max(r.Exchanges, retainEvery)))
		}
	}
	return errors.Join(problems...)
}

// expire empties the exchanges of attempts of the partition that ended before a time,
// each stretch in a transaction of its own.
func (p part) expire(ctx context.Context, db *pg.DB, before time.Time) (emptied int64, err error) {
	err = p.walk(ctx, db, exchangeStep, func(from, to uuid.UUID) error {
		return pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, ownWait.Milliseconds())); err != nil {
				return fmt.Errorf("bound the wait: %w", err)
			}
			// By the primary key. NULL takes no room, so a row that is emptied is never
			// written again.
			res, err := tx.ExecContext(ctx, fmt.Sprintf(`
				UPDATE %s SET exchange = NULL
				WHERE job_id >= $1 AND job_id < $2 AND exchange IS NOT NULL AND finished_at < $3`, p.name()), from, to, before)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			emptied += n
			return err
		})
	})
	return emptied, err
}
