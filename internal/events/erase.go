package events

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Eraser erases the data of events on request, and everything that was made of it: the
// payloads of their jobs, what was sent and received, errors, and mistakes by a
// schema in stored answers. What is known of the event beside its data stays, the
// subject too. Promises:
//   - Jobs that have not ended are canceled. One that runs may still deliver what its
//     worker has in memory; what it leaves behind is erased when it has ended.
//   - Erasing a subject takes every event of the tenant with that subject that was
//     accepted, or sent by SQL, before the request; later ones are not touched.
//   - What was asked for is in the database before the answer, and is gone on with
//     after a crash.
type Eraser struct {
	DB     *pg.DB
	Log    *slog.Logger
	KeyTTL time.Duration // how long an idempotency key is kept
}

const (
	// eraseBatch bounds the events of one transaction.
	eraseBatch = 100
	// erasePoll is the time between two looks for what is left to erase.
	erasePoll = 5 * time.Second
	// settleTime is longer than an event that came before a request may take to be
	// there: a sweep that begins later sees all of them.
	settleTime = 15 * time.Second
)

// Run goes on with what was asked for until ctx ends. One process at a time will do,
// several do no harm.
func (e *Eraser) Run(ctx context.Context) error {
	tick := time.NewTicker(erasePoll)
	defer tick.Stop()
	for {
		if err := e.Pass(ctx); err != nil && ctx.Err() == nil {
			e.Log.WarnContext(ctx, "erasing did not go on; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass sweeps once for each open request, and erases what workers have left since.
func (e *Eraser) Pass(ctx context.Context) error {
	var ids []uuid.NullUUID // one that is null stands for what workers have left
	if err := e.DB.SelectContext(ctx, &ids, `
		SELECT id FROM signalstack.erasures WHERE finished_at IS NULL
		UNION ALL (SELECT NULL FROM signalstack.erasing LIMIT 1)
		ORDER BY id`); err != nil {
		return fmt.Errorf("look for erasures: %w", err)
	}
	if len(ids) == 0 {
		return nil // as mostly
	}
	for _, id := range ids {
		if !id.Valid {
			continue
		}
		if err := e.sweep(ctx, id.UUID, time.Time{}); err != nil {
			return err
		}
	}
	return e.again(ctx)
}

// erase erases the data of events in the caller's transaction and gives how many had
// not been erased before.
func (e *Eraser) erase(ctx context.Context, tx *sqlx.Tx, ids []uuid.UUID) (int, error) {
	texts := textsOf(ids)
	var rows []struct {
		ID         uuid.UUID `db:"id"`
		ReceivedAt time.Time `db:"received_at"`
	}
	// In the order of the ids, so that two requests cannot wait for each other.
	err := tx.SelectContext(ctx, &rows, `
		SELECT id, received_at FROM signalstack.events WHERE id = ANY ($1::uuid[]) AND erased_at IS NULL ORDER BY id FOR UPDATE`, texts)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	fresh, times := make([]uuid.UUID, len(rows)), make(pq.StringArray, len(rows))
	for i, r := range rows {
		fresh[i], times[i] = r.ID, r.ReceivedAt.Format(time.RFC3339Nano)
	}
	texts = textsOf(fresh)
	if _, err := tx.ExecContext(ctx, `UPDATE signalstack.events SET data = NULL, erased_at = now() WHERE id = ANY ($1::uuid[])`, texts); err != nil {
		return 0, fmt.Errorf("erase data: %w", err)
	}
	running, err := queue.Erase(ctx, tx, fresh)
	if err != nil {
		return 0, err
	}
	var later []uuid.UUID
	for id := range running {
		later = append(later, id)
	}
	if len(later) > 0 {
		if _, err := tx.ExecContext(ctx, `INSERT INTO signalstack.erasing (event_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING`, textsOf(later)); err != nil {
			return 0, fmt.Errorf("note running jobs: %w", err)
		}
	}
	return len(fresh), e.eraseAnswers(ctx, tx, texts, times)
}

// eraseAnswers takes the mistakes by a schema out of the stored answers of events:
// their pointers may be names of fields. An answer expires a time after its event
// was received that is the same for all, which finds it by the index
// idempotency_keys_expires_at. The mistakes stand last in it.
func (e *Eraser) eraseAnswers(ctx context.Context, tx *sqlx.Tx, ids, receivedAt pq.StringArray) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE signalstack.idempotency_keys AS k
		SET answer = convert_to(regexp_replace(convert_from(k.answer, 'UTF8'), ',"warnings":\[\{.*\}\]\}$', '}'), 'UTF8')
		FROM unnest($1::text[], $2::timestamptz[]) AS e (id, received_at)
		WHERE k.expires_at = e.received_at + $3 * interval '1 millisecond'
		  AND starts_with(convert_from(k.answer, 'UTF8'), '{"id":"' || e.id || '"')
		  AND position(',"warnings":[' IN convert_from(k.answer, 'UTF8')) > 0`, ids, receivedAt, e.KeyTTL.Milliseconds())
	if err != nil {
		return fmt.Errorf("erase stored answers: %w", err)
	}
	return nil
}

// again erases what running jobs have left behind of events that were erased.
func (e *Eraser) again(ctx context.Context) error {
	last := uuid.UUID{}
	for {
		var ids []uuid.UUID
		err := pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error {
			err := tx.SelectContext(ctx, &ids, `
				SELECT event_id FROM signalstack.erasing WHERE event_id > $1 ORDER BY event_id LIMIT $2 FOR UPDATE SKIP LOCKED`, last, eraseBatch)
			if err != nil || len(ids) == 0 {
				return err
			}
			running, err := queue.Erase(ctx, tx, ids)
			if err != nil {
				return err
			}
			var done []uuid.UUID
			for _, id := range ids {
				if !running[id] {
					done = append(done, id)
				}
			}
			_, err = tx.ExecContext(ctx, `DELETE FROM signalstack.erasing WHERE event_id = ANY ($1::uuid[])`, textsOf(done))
			return err
		})
		if err != nil {
			return fmt.Errorf("erase what was left: %w", err)
		}
		if len(ids) < eraseBatch {
			return nil
		}
		last = ids[len(ids)-1]
	}
}

// EraseOne erases the data of one event and gives what is left. It may be asked twice.
func (e *Eraser) EraseOne(ctx context.Context, id uuid.UUID) (Listed, error) {
	var left Listed
	err := pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error {
		if _, err := e.erase(ctx, tx, []uuid.UUID{id}); err != nil {
			return err
		}
		err := tx.GetContext(ctx, &left, `SELECT `+columns+` FROM signalstack.events WHERE id = $1`, id)
		if errors.Is(err, sql.ErrNoRows) {
			return waitingOrMissing(ctx, tx, id)
		}
		return err
	})
	return left, err
}

// waitingOrMissing says why there is no event of an id. The outbox has no index by
// event, and is short.
func waitingOrMissing(ctx context.Context, q pg.Querier, id uuid.UUID) error {
	var waits bool
	if err := q.GetContext(ctx, &waits, `SELECT EXISTS (SELECT FROM signalstack.outbox WHERE event_id = $1)`, id); err != nil {
		return fmt.Errorf("look for event in outbox: %w", err)
	}
	if waits {
		return fault.New(fault.Conflict, "event_waiting", "The event was sent by SQL and is not accepted yet; try again, or delete its row of signalstack.outbox if it was set aside.")
	}
	return fault.Missing("event", id.String())
}

func textsOf(ids []uuid.UUID) pq.StringArray {
	texts := make(pq.StringArray, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return texts
}
