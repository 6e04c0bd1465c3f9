package intake_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// word is the thing that these tests take in; the table refuses long ones.
type word struct {
	id   uuid.UUID
	text string
}

// bundle is an intake of words into a table. gate holds each transaction back.
type bundle struct {
	db   *pg.DB
	in   *intake.Intake[word]
	gate chan struct{}
}

func start(t *testing.T) *bundle {
	t.Helper()
	dsn := pgtest.URL(t)
	b := &bundle{db: pgtest.Open(t, dsn), gate: make(chan struct{})}
	_, err := b.db.ExecContext(t.Context(), `CREATE TABLE words (id uuid PRIMARY KEY, text varchar(5) NOT NULL)`)
	require.NoError(t, err)
	b.in = intake.New(b.db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 100}, intake.Steps[word]{
		Prepare: func(context.Context, *sqlx.Tx, []word) error {
			<-b.gate
			return nil
		},
		Render: func(w word) []byte { return []byte(w.id.String()) },
		Write: func(ctx context.Context, tx *sqlx.Tx, words []word) error {
			for _, w := range words {
				if _, err := tx.ExecContext(ctx, `INSERT INTO words (id, text) VALUES ($1, $2)`, w.id, w.text); err != nil {
					return fmt.Errorf("insert word: %w", err)
				}
			}
			return nil
		},
		IDs: func(w word) []uuid.UUID { return []uuid.UUID{w.id} },
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { b.in.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return b
}

func item(text, key string) *intake.Item[word] {
	i := &intake.Item[word]{Value: word{id: uuid.Must(uuid.NewV7()), text: text}}
	if key != "" {
		i.Keys = []idempotency.Reservation{{
			Key: idempotency.Key{Tenant: "default", Scope: "words", Key: key}, Fingerprint: idempotency.Fingerprint([]byte(text)),
		}}
	}
	return i
}

// result is what one caller got.
type result struct {
	answers []intake.Answer
	err     error
}

// all sends requests at once and opens the gate when they wait.
func (b *bundle) all(t *testing.T, requests ...[]*intake.Item[word]) []result {
	t.Helper()
	results := make([]result, len(requests))
	var wg sync.WaitGroup
	for i, items := range requests {
		wg.Go(func() {
			results[i].answers, results[i].err = b.in.Do(t.Context(), &intake.Request[word]{Items: items})
		})
	}
	close(b.gate)
	wg.Wait()
	return results
}

func (b *bundle) stored(t *testing.T) []string {
	t.Helper()
	var texts []string
	require.NoError(t, b.db.SelectContext(t.Context(), &texts, `SELECT text FROM words ORDER BY text`))
	return texts
}

func TestBadValueSinksOnlyItsOwnRequest(t *testing.T) {
	t.Parallel()
	b := start(t)
	results := b.all(t,
		[]*intake.Item[word]{item("a", "")},
		[]*intake.Item[word]{item("b", ""), item("much too long", "")},
		[]*intake.Item[word]{item("c", ""), item("d", "")})
	require.NoError(t, results[0].err)
	require.True(t, pg.IsBadData(results[1].err), "%v", results[1].err)
	require.NoError(t, results[2].err)
	require.Equal(t, []string{"a", "c", "d"}, b.stored(t))
}

func TestCallersWithOneKeyShareOneAnswer(t *testing.T) {
	t.Parallel()
	b := start(t)
	results := b.all(t,
		[]*intake.Item[word]{item("a", "k")},
		[]*intake.Item[word]{item("a", "k")},
		[]*intake.Item[word]{item("a", "k"), item("x", "")})
	replayed := 0
	for _, r := range results {
		require.NoError(t, r.err)
		require.Equal(t, results[0].answers[0].Body, r.answers[0].Body)
		if r.answers[0].Replayed {
			replayed++
		}
	}
	require.Equal(t, 2, replayed)
	require.Equal(t, []string{"a", "x"}, b.stored(t))
}

func TestAnotherBodyUnderAKeyIsRefusedWithItsWholeRequest(t *testing.T) {
	t.Parallel()
	b := start(t)
	require.NoError(t, b.all(t, []*intake.Item[word]{item("a", "k")})[0].err)
	_, err := b.in.Do(t.Context(), &intake.Request[word]{Items: []*intake.Item[word]{item("b", ""), item("c", "k")}, Array: true})
	require.Equal(t, idempotency.ErrMismatch.Code, fault.As(err).Code)
	require.Equal(t, "/1", fault.As(err).Details[0].Pointer, "it says which")
	require.Equal(t, []string{"a"}, b.stored(t))
}

func TestCallerOfAnAbsentDatabaseIsToldToComeAgain(t *testing.T) {
	t.Parallel()
	away, err := pg.Open("postgres://u@127.0.0.1:1/x?sslmode=disable", pg.Options{Role: "test"})
	require.NoError(t, err)
	in := intake.New(away, intake.Config{KeyTTL: time.Hour, MaxWaiting: 1}, intake.Steps[word]{
		Prepare: func(context.Context, *sqlx.Tx, []word) error { return errors.New("unreachable") },
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { in.Run(ctx); close(done) }()
	_, err = in.Do(t.Context(), &intake.Request[word]{Items: []*intake.Item[word]{item("a", "")}})
	f := fault.As(err)
	require.NotNil(t, f, "%v", err)
	require.Equal(t, fault.Unavailable, f.Kind)
	require.Positive(t, f.RetryAfter)
	stop()
	<-done
}
