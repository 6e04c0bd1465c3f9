package events

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Outbox accepts the events that applications sent from SQL in transactions of
// their own (signalstack.send_event). Promises:
//   - A row is deleted in the transaction that writes its event, the event's jobs
//     and their counts: each row becomes one event, whatever dies in between.
//   - Any number of outboxes may run; what one holds the others skip.
//   - The event has the id that send_event gave, and the routes of the moment at
//     which it is accepted.
//   - Keys are those of POST /events. The first event of a key stays; another one is
//     dropped, because nobody is there to be told.
//   - A row that cannot be stored, or that the limits of its tenant or the schema of
//     its type refuse, is set aside with its error and holds up no other.
//     It is taken again when an operator empties its failed_at.
type Outbox struct {
	db     *pg.DB
	listen *pg.DB
	router *router
	ttl    time.Duration
	log    *slog.Logger
	limit  int // rows of the next batch
}

// OutboxConfig says how an outbox works.
type OutboxConfig struct {
	KeyTTL time.Duration // how long an idempotency key is kept
	// Listen is where to hear of new rows when the pool goes through a pooler, which
	// loses notifications; nil: the pool.
	Listen *pg.DB
}

// Bounds of a batch. The bytes of data bound what it takes in memory; one row may
// exceed them alone.
const (
	outboxBatch = 500
	outboxBytes = 8 << 20
)

const (
	// outboxChannel is where send_event notifies.
	outboxChannel = "signalstack_outbox"
	// outboxPoll is the longest time between two looks: one step in an index that is
	// empty most of the time.
	outboxPoll = 2 * time.Second
)

// NewOutbox makes an outbox.
func NewOutbox(cfg OutboxConfig, db *pg.DB, kinds *jobs.Registry, log *slog.Logger) *Outbox {
	return &Outbox{
		db: db, listen: cmp.Or(cfg.Listen, db), router: newRouter(kinds, log), ttl: cfg.KeyTTL, log: log, limit: outboxBatch,
	}
}

// Run accepts events until ctx ends.
func (o *Outbox) Run(ctx context.Context) error {
	woken := make(chan struct{}, 1)
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() {
		err := pg.Listen(ctx, o.listen, outboxChannel, func(string) {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		if err != nil {
			o.log.WarnContext(ctx, "not listening for events from SQL; polling only", "error", err)
		}
	})
	tick := time.NewTicker(outboxPoll)
	defer tick.Stop()
	failures := 0
	for {
		again, err := o.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = 0
		default:
			if failures++; failures == 1 {
				o.log.WarnContext(ctx, "events from SQL could not be accepted; trying again until they can", "error", err)
			}
		}
		if again {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-tick.C:
		}
	}
}

// step accepts one batch and says whether to go on at once. A batch that fails is
// tried with half its rows, down to the one that spoils it.
func (o *Outbox) step(ctx context.Context) (again bool, err error) {
	rows, err := o.move(ctx)
	switch {
	case err == nil:
		o.limit = min(2*o.limit, outboxBatch)
		return len(rows) > 0, nil
	case len(rows) > 1:
		o.limit = len(rows) / 2
		if isPoison(err) {
			return true, nil
		}
	case len(rows) == 1 && isPoison(err):
		err = o.setAside(ctx, rows[0], err)
		return err == nil, err
	}
	return false, err
}

// errPanicked is what a row comes to that the code does not survive.
var errPanicked = errors.New("the event could not be routed")

// isPoison says whether the rows themselves are to blame.
func isPoison(err error) bool { return pg.IsBadData(err) || errors.Is(err, errPanicked) }

// outboxRow is an event on its way out of the table.
type outboxRow struct {
	ID             int64     `db:"id"`
	EventID        uuid.UUID `db:"event_id"`
	Tenant         string    `db:"tenant"`
	Type           string    `db:"type"`
	Source         string    `db:"source"`
	Subject        string    `db:"subject"`
	SenderID       *string   `db:"sender_id"`
	IdempotencyKey *string   `db:"idempotency_key"`
	Time           time.Time `db:"time"`
	Data           []byte    `db:"data"`
	CreatedAt      time.Time `db:"created_at"`
}

// errKeyTaken says that another process committed one of our keys meanwhile; the
// transaction is run again and finds it.
var errKeyTaken = errors.New("an idempotency key was taken meanwhile")

// moveTries bounds how often a batch is tried that lost a key to another process
// or found no partition.
const moveTries = 4

// move turns rows into events in one transaction and gives the rows that it took,
// also when nothing came of it.
func (o *Outbox) move(ctx context.Context) (rows []outboxRow, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", errPanicked, p)
		}
	}()
	for range moveTries {
		err = pg.InSteadyTx(ctx, o.db, func(tx *sqlx.Tx) error {
			var err error
			if rows, err = takeRows(ctx, tx, o.limit); err != nil || len(rows) == 0 {
				return err
			}
			return o.accept(ctx, tx, rows)
		})
		switch {
		case errors.Is(err, errKeyTaken):
		case pg.IsNoPartition(err):
			if err := o.makePartitions(ctx, rows); err != nil {
				return rows, err
			}
		default:
			return rows, err
		}
	}
	return rows, err
}

// takeRows deletes the oldest rows that nobody else holds, along the primary key.
func takeRows(ctx context.Context, tx *sqlx.Tx, limit int) ([]outboxRow, error) {
	var rows []outboxRow
	err := tx.SelectContext(ctx, &rows, `
		WITH waiting AS MATERIALIZED (
		    SELECT id, coalesce(octet_length(data), 0) AS size FROM signalstack.outbox
		    WHERE failed_at IS NULL
		    ORDER BY id LIMIT $1
		    FOR UPDATE SKIP LOCKED
		), batch AS (
		    SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id) - size AS bytes_before FROM waiting) AS w
		    WHERE bytes_before < $2
		)
		DELETE FROM signalstack.outbox AS o USING batch WHERE o.id = batch.id
		RETURNING o.id, o.event_id, o.tenant, o.type, o.source, o.subject, o.sender_id, o.idempotency_key, o.time, o.data, o.created_at`,
		limit, outboxBytes)
	if err != nil {
		return nil, fmt.Errorf("take events from SQL: %w", err)
	}
	slices.SortFunc(rows, func(a, b outboxRow) int { return cmp.Compare(a.ID, b.ID) })
	return rows, nil
}

// makePartitions makes those of the days on which the events were sent, and of
// today, whose id their jobs have.
func (o *Outbox) makePartitions(ctx context.Context, rows []outboxRow) error {
	times := []time.Time{time.Now().UTC().Truncate(24 * time.Hour)}
	for _, r := range rows {
		if day := queue.IDTime(r.EventID).UTC().Truncate(24 * time.Hour); !slices.Contains(times, day) {
			times = append(times, day)
		}
	}
	return queue.EnsurePartitions(ctx, o.db, times...)
}

// accept writes the events of rows as the intake writes those of requests.
func (o *Outbox) accept(ctx context.Context, tx *sqlx.Tx, rows []outboxRow) error {
	batch := make([]*acceptance, len(rows))
	for i, r := range rows {
		batch[i] = r.begin()
	}
	if err := o.router.prepare(ctx, tx, batch); err != nil {
		return err
	}
	fresh, err := o.admit(ctx, tx, rows, batch)
	if err != nil || len(fresh) == 0 {
		return err
	}
	return write(ctx, tx, fresh)
}

// begin makes the event of a row. Routes match it when it is prepared.
func (r outboxRow) begin() *acceptance {
	x := &acceptance{data: r.Data, view: r.Data, event: Event{Listed: Listed{
		ID: r.EventID, Tenant: r.Tenant, Type: r.Type, Source: r.Source, Subject: r.Subject, Time: r.Time.UTC(),
	}}}
	if r.SenderID != nil {
		x.event.SenderID = *r.SenderID
	}
	return x
}

// reservations are the keys of a row. What stands for its body has no time, which
// is another one each time an application tries again.
func (r outboxRow) reservations() ([]idempotency.Reservation, error) {
	if r.SenderID == nil && r.IdempotencyKey == nil {
		return nil, nil
	}
	n := NewEvent{
		Type: r.Type, Data: r.Data, Source: r.Source, Subject: r.Subject, ID: r.SenderID, IdempotencyKey: r.IdempotencyKey, Tenant: r.Tenant,
	}
	body, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPanicked, err)
	}
	key := ""
	if r.IdempotencyKey != nil {
		key = *r.IdempotencyKey
	}
	all := keys(n, r.Tenant, key, body)
	for i := range all {
		all[i].Waits = true // nobody is there to come again
	}
	return all, nil
}

// admit reserves the keys of the events and gives those that are fresh: their keys
// neither stand nor belong to an earlier event of the batch.
func (o *Outbox) admit(ctx context.Context, tx *sqlx.Tx, rows []outboxRow, batch []*acceptance) ([]*acceptance, error) {
	of := make([][]idempotency.Reservation, len(rows))
	var wanted, won []idempotency.Reservation
	for i, r := range rows {
		var err error
		if of[i], err = r.reservations(); err != nil {
			return nil, err
		}
		wanted = append(wanted, of[i]...)
	}
	taken, err := idempotency.Find(ctx, tx, wanted)
	if err != nil {
		return nil, err
	}
	var fresh []*acceptance
	var at []int // where they stand in the batch
	for i, x := range batch {
		if slices.ContainsFunc(of[i], func(k idempotency.Reservation) bool { _, standing := taken[k.Key]; return standing }) {
			continue
		}
		if x.refusal != nil {
			if err := o.putBack(ctx, tx, rows[i], x.refusal); err != nil {
				return nil, err
			}
			continue
		}
		for _, k := range of[i] {
			taken[k.Key] = idempotency.Found{}
		}
		fresh, at = append(fresh, x), append(at, i)
	}
	if err := resolve(ctx, tx, fresh, o.ttl); err != nil {
		return nil, err
	}
	for n, x := range fresh {
		for _, k := range of[at[n]] {
			k.Status, k.Answer = http.StatusCreated, x.render()
			won = append(won, k)
		}
	}
	got, err := idempotency.Reserve(ctx, tx, won, o.ttl)
	if err == nil && len(got) < len(won) {
		err = errKeyTaken
	}
	return fresh, err
}

// putBack sets a row aside that was taken in this transaction and may not be stored.
// Unlike one that spoils its batch it is known before anything is written.
func (o *Outbox) putBack(ctx context.Context, tx *sqlx.Tx, r outboxRow, cause error) error {
	why := reason(cause)
	_, err := tx.ExecContext(ctx, `
		INSERT INTO signalstack.outbox (id, event_id, tenant, type, source, subject, sender_id, idempotency_key, time, data, created_at, failed_at, error)
		OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now(), $12)`,
		r.ID, r.EventID, r.Tenant, r.Type, r.Source, r.Subject, r.SenderID, r.IdempotencyKey, r.Time, r.Data, r.CreatedAt, why)
	if err != nil {
		return fmt.Errorf("put an event from SQL back: %w", err)
	}
	o.log.ErrorContext(ctx, "an event from SQL may not be stored; it is set aside in signalstack.outbox", "event_id", r.EventID, "tenant", r.Tenant, "error", why)
	return nil
}

// reason is an error with its mistakes as a text column holds it.
func reason(cause error) string {
	text := cause.Error()
	if f := fault.As(cause); f != nil {
		for _, d := range f.Details {
			text += "\n" + d.Pointer + " " + d.Detail
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// setAside keeps a row that cannot be stored from being taken again.
func (o *Outbox) setAside(ctx context.Context, r outboxRow, cause error) error {
	why := reason(cause)
	_, err := o.db.ExecContext(ctx, `UPDATE signalstack.outbox SET failed_at = now(), error = $2 WHERE id = $1 AND failed_at IS NULL`, r.ID, why)
	if err != nil {
		return fmt.Errorf("set an event from SQL aside: %w", err)
	}
	o.log.ErrorContext(ctx, "an event from SQL cannot be stored; it is set aside in signalstack.outbox", "event_id", r.EventID, "tenant", r.Tenant, "error", why)
	return nil
}
