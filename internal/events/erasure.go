package events

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// NewErasure asks to erase all of a subject.
type NewErasure struct {
	Subject string `json:"subject" minLength:"1" doc:"The subject of the events"`
	Tenant  string `json:"tenant,omitempty" doc:"Whose events; default: the caller's"`
	DryRun  bool   `json:"dry_run,omitempty" doc:"true: erase nothing and say how many events it would be"`
}

// Validate gives the mistakes that the schema does not know.
func (n NewErasure) Validate() []fault.Detail {
	return append(httpapi.CheckText("/subject", n.Subject, 2048), httpapi.CheckName("/tenant", n.Tenant)...)
}

// Erasure is a request to erase a subject, and how far it is.
type Erasure struct {
	ID          *uuid.UUID `db:"id" json:"id,omitempty" doc:"Absent of a dry run"`
	Tenant      string     `db:"tenant" json:"tenant"`
	Subject     string     `db:"subject" json:"subject"`
	DryRun      bool       `db:"-" json:"dry_run,omitempty"`
	Events      int64      `db:"erased" json:"events" doc:"Events erased so far; of a dry run, events that would be, counted to 10,000"`
	More        bool       `db:"-" json:"more,omitempty" doc:"Of a dry run: there are more"`
	RequestedAt time.Time  `db:"requested_at" json:"requested_at"`
	FinishedAt  *time.Time `db:"finished_at" json:"finished_at,omitempty" doc:"When nothing was left to look for: at least 15 s after the request, for events that were being stored then"`
}

const erasureColumns = `id, tenant, subject, erased, requested_at, finished_at`

// dryMost is how many events a dry run counts.
const dryMost = 10_000

// wouldErase counts the events of a subject, by the index events_subject.
func wouldErase(ctx context.Context, q pg.Querier, tenant, subject string) (Erasure, error) {
	x := Erasure{Tenant: tenant, Subject: subject, DryRun: true}
	var row struct {
		N   int64     `db:"n"`
		Now time.Time `db:"now"`
	}
	err := q.GetContext(ctx, &row, `
		SELECT count(*) AS n, now() AS now FROM (
		    SELECT FROM signalstack.events WHERE subject = $2 AND subject <> '' AND tenant = $1 AND erased_at IS NULL LIMIT $3
		) AS e`, tenant, subject, dryMost+1)
	if err != nil {
		return Erasure{}, fmt.Errorf("count events of subject: %w", err)
	}
	x.Events, x.More, x.RequestedAt = min(row.N, dryMost), row.N > dryMost, row.Now
	return x, nil
}

// atOnce is for how long a request erases before it is answered; the rest is upkeep's.
const atOnce = 2 * time.Second

// EraseSubject notes the request and erases what it finds soon.
func (e *Eraser) EraseSubject(ctx context.Context, tenant, subject string) (Erasure, error) {
	id := uuid.Must(uuid.NewV7())
	_, err := e.DB.ExecContext(ctx, `
		INSERT INTO signalstack.erasures (id, tenant, subject, erased, swept_since, swept_to, requested_at)
		VALUES ($1, $2, $3, 0, now(), '00000000-0000-0000-0000-000000000000', now())`, id, tenant, subject)
	if err != nil {
		return Erasure{}, fmt.Errorf("note erasure: %w", err)
	}
	if err := e.sweep(ctx, id, time.Now().Add(atOnce)); err != nil {
		return Erasure{}, err
	}
	return getErasure(ctx, e.DB, id)
}

// sweep looks through the events of a request once, in batches, or until a time.
func (e *Eraser) sweep(ctx context.Context, id uuid.UUID, until time.Time) error {
	for more := true; more && (until.IsZero() || time.Now().Before(until)); {
		err := pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) (err error) {
			more, err = e.step(ctx, tx, id)
			return err
		})
		if err != nil {
			return fmt.Errorf("erase subject: %w", err)
		}
	}
	return nil
}

// sweeping is a request as a step goes on with it.
type sweeping struct {
	Erasure
	SweptTo uuid.UUID `db:"swept_to"`
	Settled bool      `db:"settled"` // the sweep began late enough to see all events
}

// step erases one batch and says whether the sweep goes on. Who does not get the
// request leaves it to the one who has it.
func (e *Eraser) step(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) (more bool, err error) {
	var s sweeping
	err = tx.GetContext(ctx, &s, `
		SELECT `+erasureColumns+`, swept_to, swept_since >= requested_at + $2 * interval '1 millisecond' AS settled
		FROM signalstack.erasures WHERE id = $1 AND finished_at IS NULL FOR UPDATE SKIP LOCKED`, id, settleTime.Milliseconds())
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var ids []uuid.UUID
	// The index events_subject, in its order. An event from SQL has the id of its
	// sending, and is received later.
	err = tx.SelectContext(ctx, &ids, `
		SELECT id FROM signalstack.events
		WHERE subject = $1 AND subject <> '' AND tenant = $2 AND id > $3 AND (received_at <= $4 OR id < $5)
		ORDER BY id LIMIT $6`, s.Subject, s.Tenant, s.SweptTo, s.RequestedAt, queue.FirstID(s.RequestedAt.Add(time.Millisecond)), eraseBatch)
	if err != nil {
		return false, err
	}
	n, err := e.erase(ctx, tx, ids)
	if err != nil {
		return false, err
	}
	if len(ids) == eraseBatch {
		_, err = tx.ExecContext(ctx, `UPDATE signalstack.erasures SET erased = erased + $2, swept_to = $3 WHERE id = $1`, id, n, ids[len(ids)-1])
		return true, err
	}
	return false, e.endSweep(ctx, tx, s, n)
}

// endSweep finishes a request, or begins the next sweep where events may have come
// in behind this one. A sweep that began while events waited in the outbox is not the
// last: they may have become events behind it.
func (e *Eraser) endSweep(ctx context.Context, tx *sqlx.Tx, s sweeping, n int) error {
	waiting, err := eraseOutbox(ctx, tx, s)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE signalstack.erasures
		SET erased = erased + $2, swept_to = '00000000-0000-0000-0000-000000000000', finished_at = CASE WHEN $3 THEN now() END,
		    swept_since = CASE WHEN $4 THEN requested_at ELSE now() END
		WHERE id = $1`, s.ID, n, s.Settled && !waiting, waiting)
	return err
}

// eraseOutbox erases the events from SQL that were set aside, and says whether there
// are others, which become events soon. The outbox is short.
func eraseOutbox(ctx context.Context, tx *sqlx.Tx, s sweeping) (waiting bool, err error) {
	_, err = tx.ExecContext(ctx, `
		UPDATE signalstack.outbox SET data = NULL, error = 'Its data was erased.'
		WHERE failed_at IS NOT NULL AND data IS NOT NULL AND tenant = $1 AND subject = $2 AND created_at <= $3`, s.Tenant, s.Subject, s.RequestedAt)
	if err != nil {
		return false, err
	}
	err = tx.GetContext(ctx, &waiting, `
		SELECT EXISTS (SELECT FROM signalstack.outbox WHERE failed_at IS NULL AND tenant = $1 AND subject = $2 AND created_at <= $3)`,
		s.Tenant, s.Subject, s.RequestedAt)
	return waiting, err
}

func getErasure(ctx context.Context, q pg.Querier, id uuid.UUID) (Erasure, error) {
	var x Erasure
	err := q.GetContext(ctx, &x, `SELECT `+erasureColumns+` FROM signalstack.erasures WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Erasure{}, fault.Missing("erasure", id.String())
	}
	if err != nil {
		return Erasure{}, fmt.Errorf("get erasure: %w", err)
	}
	return x, nil
}

// listErasures gives up to limit requests, newest first, before the given id.
func listErasures(ctx context.Context, q pg.Querier, tenant, before string, limit int) ([]Erasure, error) {
	var rows []Erasure
	err := q.SelectContext(ctx, &rows, `
		SELECT `+erasureColumns+` FROM signalstack.erasures
		WHERE ($1 = '' OR tenant = $1) AND id < coalesce(nullif($2, '')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
		ORDER BY id DESC LIMIT $3`, tenant, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	return rows, nil
}
