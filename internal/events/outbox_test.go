package events_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// consume runs an outbox until the test ends.
func consume(t *testing.T, db *pg.DB, log *slog.Logger) {
	t.Helper()
	o := events.NewOutbox(events.OutboxConfig{KeyTTL: time.Hour}, db, kinds(), log)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = o.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fromSQL calls send_event with arguments as they stand in SQL.
func fromSQL(t *testing.T, q pg.Querier, arguments string, values ...any) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, q.GetContext(t.Context(), &id, `SELECT signalstack.send_event(`+arguments+`)`, values...), arguments)
	return id
}

// awaitEmpty waits until no row waits; the database tells no one, so it polls.
func awaitEmpty(t *testing.T, db *pg.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		err := db.GetContext(context.Background(), &n, `SELECT count(*) FROM signalstack.outbox WHERE failed_at IS NULL`)
		return err == nil && n == 0
	}, 30*time.Second, 10*time.Millisecond)
}

func TestEventFromSQLIsRoutedByTheRulesOfTheMoment(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	consume(t, db, discard())
	data := `{"z":1,"big":9007199254740993,"e":1e400,"nul":"\u0000", "z":2,"u":"é<&>\ud800"}`
	for i := range 5 {
		typ := fmt.Sprintf("t%d", i)
		r := rule(t, h, `{"type":["`+typ+`"],"data":{"z":[2]}}`)
		id := fromSQL(t, db, `$1, $2, source => 'shop', subject => 'x', event_time => '2026-01-02T03:04:05.123456+02:00'`, typ, data)
		awaitEmpty(t, db)
		var e struct {
			Type, Source, Subject, Tenant string
			Sender                        string
			Time, Received                time.Time
			Data                          []byte
			Rule                          uuid.UUID
			JobType                       string
		}
		require.NoError(t, db.GetContext(t.Context(), &e, `
			SELECT e.type, source, subject, e.tenant, sender_id AS sender, time, received_at AS received, data, rule_id AS rule, event_type AS jobtype
			FROM signalstack.events AS e JOIN signalstack.jobs AS j ON j.event_id = e.id WHERE e.id = $1`, id))
		require.Equal(t, []string{typ, "shop", "x", "default", "", typ}, []string{e.Type, e.Source, e.Subject, e.Tenant, e.Sender, e.JobType})
		require.Equal(t, data, string(e.Data))
		require.Equal(t, r.ID, e.Rule)
		require.Equal(t, "2026-01-02T01:04:05.123456Z", e.Time.UTC().Format(time.RFC3339Nano))
		require.WithinDuration(t, time.Now(), e.Received, time.Minute)
	}
	bare := fromSQL(t, db, `'bare'`)
	awaitEmpty(t, db)
	require.Equal(t, 1, count(t, db, `events WHERE id = $1 AND data IS NULL`, bare))
}

func TestEventFromSQLGoesWithItsTransaction(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	heard := make(chan string, 10)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = pg.Listen(ctx, db, "signalstack_outbox", func(p string) { heard <- p }) }()
	<-heard
	tx, err := db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	fromSQL(t, tx, `'a', '{}'`)
	require.NoError(t, tx.Rollback())
	require.Zero(t, count(t, db, "outbox"))
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		fromSQL(t, tx, `'a', '{}'`)
		return nil
	}))
	require.Empty(t, <-heard)
	require.Equal(t, 1, count(t, db, "outbox"))
}

func TestFourOutboxesMakeEachEventOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	rule(t, h, `{"type":["a"]}`)
	const writers, each = 4, 750
	for range 4 {
		consume(t, db, discard())
	}
	var wg sync.WaitGroup
	sent := make([][]uuid.UUID, writers)
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			errs[w] = db.SelectContext(t.Context(), &sent[w], `SELECT signalstack.send_event('a', n::text) FROM generate_series(1, $1) AS n`, each)
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	awaitEmpty(t, db)
	const all = writers * each
	require.Equal(t, all, count(t, db, "events"))
	require.Equal(t, all, count(t, db, "jobs"))
	var routed int
	require.NoError(t, db.GetContext(t.Context(), &routed, `SELECT count(DISTINCT event_id) FROM signalstack.jobs`))
	require.Equal(t, all, routed)
	for _, ids := range sent {
		texts := make(pq.StringArray, len(ids))
		for i, id := range ids {
			texts[i] = id.String()
		}
		require.Equal(t, each, count(t, db, "events WHERE id = ANY ($1::uuid[])", texts))
	}
	var counted []int
	require.NoError(t, db.SelectContext(t.Context(), &counted, `
		SELECT sum(n) FROM signalstack.analytics_deltas WHERE fact IN ('event', 'job_created') GROUP BY fact`))
	require.Equal(t, []int{all, all}, counted)
}

func TestEventFromSQLThatCannotBeStoredIsSetAside(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	taken := accept(t, h, `{"type":"first"}`).ID
	const good = 40
	var spoiled []uuid.UUID
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		for i := range good {
			fromSQL(t, tx, `'a', $1`, fmt.Sprint(i))
			if i%15 == 7 {
				spoiled = append(spoiled, fromSQL(t, tx, `'spoiled'`))
			}
		}
		// An id that an event has already: it cannot have a second one.
		_, err := tx.ExecContext(t.Context(), `UPDATE signalstack.outbox SET event_id = $1 WHERE type = 'spoiled'`, taken)
		return err
	}))
	require.Len(t, spoiled, 3)
	var log bytes.Buffer
	consume(t, db, slog.New(slog.NewTextHandler(&log, nil)))
	awaitEmpty(t, db)
	require.Equal(t, good+1, count(t, db, "events"))
	require.Equal(t, 3, count(t, db, `outbox WHERE type = 'spoiled' AND failed_at IS NOT NULL AND error LIKE '%duplicate key%'`))

	fromSQL(t, db, `'b'`)
	awaitEmpty(t, db)
	require.Equal(t, good+2, count(t, db, "events"), "it goes on")
	require.Equal(t, 3, strings.Count(log.String(), "it is set aside"))
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.outbox SET event_id = signalstack.uuid7(), failed_at = NULL`)
	require.NoError(t, err)
	awaitEmpty(t, db)
	require.Equal(t, good+5, count(t, db, "events"), "a row that was mended is taken again")
}

func TestKeysOfEventsFromSQLAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	rule(t, h, `{"type":["a"]}`)
	accept(t, h, `{"type":"a","idempotency_key":"by HTTP"}`)
	for range 3 {
		consume(t, db, discard())
	}
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		fromSQL(t, tx, `'a', idempotency_key => 'by HTTP'`)
		fromSQL(t, tx, `'a', idempotency_key => 'twice'`)
		fromSQL(t, tx, `'a', idempotency_key => 'twice'`)
		fromSQL(t, tx, `'a', sender_id => '1', source => 's'`)
		fromSQL(t, tx, `'a', sender_id => '1', source => 'of another'`)
		return nil
	}))
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = db.ExecContext(t.Context(), `SELECT signalstack.send_event('a', sender_id => '1', source => $1, idempotency_key => $2)`,
				[]string{"s", "race"}[i%2], fmt.Sprint(i/20))
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	awaitEmpty(t, db)
	require.Equal(t, 2, count(t, db, "events WHERE source = ''"), "by HTTP and twice")
	require.Equal(t, 1, count(t, db, "events WHERE source = 's'"))
	require.Equal(t, 1, count(t, db, "events WHERE source = 'of another'"))
	require.Equal(t, 1, count(t, db, "events WHERE source = 'race'"))
	require.Equal(t, 5, count(t, db, "jobs"))
	require.Equal(t, 422, contract.Send(h, "POST", "/events", `{"type":"a","idempotency_key":"twice"}`).Code)
}

func TestSendEventRefusesWhatTheAPIRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for arguments, complaint := range map[string]string{
		`''`:               "type must not be blank",
		`'  '`:             "type must not be blank",
		`NULL`:             "type must not be blank",
		`repeat('t', 256)`: "type must have at most 255 characters",
		`E'a\n'`:           "type must not hold control characters",
		`'a', '{'`:         "data must be JSON",
		`'a', repeat('[', 513) || repeat(']', 513)`: "data must not nest deeper than 512 levels",
		`'a', '"' || repeat('é', 524288) || '"'`:    "data must have at most 1048576 bytes",
		`'a', source => repeat('s', 2049)`:          "source must have at most 2048 characters",
		`'a', subject => E'\x01'`:                   "subject must not hold control characters",
		`'a', tenant => '../x'`:                     "tenant must be 1 to 63 letters",
		`'a', event_time => 'infinity'`:             "event_time must be a time from the year 1 to 9999",
		`'a', sender_id => ''`:                      "sender_id must not be empty",
		`'a', sender_id => repeat('é', 128)`:        "sender_id must have at most 255 bytes",
		`'a', idempotency_key => E'\x7f'`:           "idempotency_key must not hold control characters",
	} {
		_, err := db.ExecContext(t.Context(), `SELECT signalstack.send_event(`+arguments+`)`)
		var refusal *pq.Error
		require.ErrorAs(t, err, &refusal, arguments)
		require.Equal(t, "22023", string(refusal.Code), "%s: %v", arguments, err)
		require.Contains(t, refusal.Message, complaint, arguments)
	}
	require.Zero(t, count(t, db, "outbox"))
}
