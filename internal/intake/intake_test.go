package intake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
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
	// entered gets something when the first transaction stands before the gate.
	entered chan struct{}
}

func start(t *testing.T) *bundle {
	t.Helper()
	dsn := pgtest.URL(t)
	b := &bundle{db: pgtest.Open(t, dsn), gate: make(chan struct{}), entered: make(chan struct{}, 1)}
	_, err := b.db.ExecContext(t.Context(), `CREATE TABLE words (id uuid PRIMARY KEY, text varchar(5) NOT NULL)`)
	require.NoError(t, err)
	b.in = intake.New(b.db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 100}, intake.Steps[word]{
		Prepare: func(context.Context, *sqlx.Tx, []word) error {
			select {
			case b.entered <- struct{}{}:
			default:
			}
			<-b.gate
			return nil
		},
		Render: func(w word) []byte { return []byte(`{"id":"` + w.id.String() + `"}`) },
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

// shared is item for a key that is waited for.
func shared(text, key string) *intake.Item[word] {
	i := item(text, key)
	i.Keys[0].Waits = true
	return i
}

func array(items ...*intake.Item[word]) *intake.Request[word] {
	return &intake.Request[word]{Items: items, Array: true}
}

func single(i *intake.Item[word]) *intake.Request[word] {
	return &intake.Request[word]{Items: []*intake.Item[word]{i}}
}

// result is what one caller got.
type result struct {
	reply intake.Reply
	err   error
}

// all sends requests at once and opens the gate when they wait.
func (b *bundle) all(t *testing.T, requests ...*intake.Request[word]) []result {
	t.Helper()
	results := make([]result, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() { results[i].reply, results[i].err = b.in.Do(t.Context(), r) })
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
		single(item("a", "")),
		array(item("b", ""), item("much too long", "")),
		array(item("c", ""), item("d", "")))
	require.NoError(t, results[0].err)
	require.True(t, pg.IsBadData(results[1].err), "%v", results[1].err)
	require.NoError(t, results[2].err)
	require.Equal(t, []string{"a", "c", "d"}, b.stored(t))
}

func TestCallersWithOneIDShareOneAnswer(t *testing.T) {
	t.Parallel()
	b := start(t)
	results := b.all(t, single(shared("a", "k")), single(shared("a", "k")), single(shared("a", "k")))
	replayed := 0
	for _, r := range results {
		require.NoError(t, r.err)
		require.Equal(t, results[0].reply.Body, r.reply.Body)
		if r.reply.Replayed {
			replayed++
		}
	}
	require.Equal(t, 2, replayed)
	require.Equal(t, []string{"a"}, b.stored(t))
}

// TestKeyInFlightIsRefusedUntilItIsAnswered holds the transaction of the first
// request back. The others come meanwhile, within the process.
func TestKeyInFlightIsRefusedUntilItIsAnswered(t *testing.T) {
	t.Parallel()
	b := start(t)
	first := make(chan result, 1)
	go func() {
		var r result
		r.reply, r.err = b.in.Do(t.Context(), single(item("a", "k")))
		first <- r
	}()
	<-b.entered
	_, err := b.in.Do(t.Context(), single(item("a", "k")))
	f := fault.As(err)
	require.NotNil(t, f, "%v", err)
	require.Equal(t, fault.Conflict, f.Kind)
	require.Positive(t, f.RetryAfter)
	_, err = b.in.Do(t.Context(), single(item("b", "k")))
	require.ErrorIs(t, err, idempotency.ErrMismatch, "another body need not wait to be told")
	close(b.gate)
	r := <-first
	require.NoError(t, r.err)
	again, err := b.in.Do(t.Context(), single(item("a", "k")))
	require.NoError(t, err)
	require.Equal(t, intake.Reply{Status: 201, Body: r.reply.Body, Replayed: true}, again)
	require.Equal(t, []string{"a"}, b.stored(t))
}

func TestKeyOfARequestThatFailedIsFree(t *testing.T) {
	t.Parallel()
	b := start(t)
	close(b.gate)
	_, err := b.in.Do(t.Context(), single(item("much too long", "k")))
	require.True(t, pg.IsBadData(err), "%v", err)
	_, err = b.in.Do(t.Context(), single(item("b", "k")))
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, b.stored(t))
}

func TestArrayIsAnsweredItemByItem(t *testing.T) {
	t.Parallel()
	b := start(t)
	require.NoError(t, b.all(t, single(item("a", "k")))[0].err)
	items := func() []*intake.Item[word] {
		return []*intake.Item[word]{
			item("b", ""), item("c", "k"), item("a", "k"), intake.Refused[word](fault.InvalidField("/text", "is bad")), shared("d", "new"), shared("d", "new"), shared("e", "new"),
		}
	}
	_, err := b.in.Do(t.Context(), &intake.Request[word]{Items: items(), Array: true, Atomic: true})
	var pointers []string
	for _, d := range fault.As(err).Details {
		pointers = append(pointers, d.Pointer)
	}
	require.Equal(t, []string{"/3/text"}, pointers, "what is wrong by itself is told before the database is asked")
	all := items()
	_, err = b.in.Do(t.Context(), &intake.Request[word]{Items: append(all[:3], all[4:]...), Array: true, Atomic: true})
	f := fault.As(err)
	require.Equal(t, idempotency.ErrMismatch.Code, f.Code)
	require.Equal(t, []string{"/1", "/5"}, []string{f.Details[0].Pointer, f.Details[1].Pointer})
	require.Equal(t, []string{"a"}, b.stored(t))

	key := &idempotency.Reservation{Key: idempotency.Key{Tenant: "default", Scope: "words", Key: "whole"}, Fingerprint: idempotency.Fingerprint([]byte("body"))}
	reply, err := b.in.Do(t.Context(), &intake.Request[word]{Items: items(), Array: true, Key: key})
	require.NoError(t, err)
	require.Equal(t, 207, reply.Status)
	require.False(t, reply.Replayed)
	var list struct {
		Data []struct {
			Index, Status int
			Replayed      bool
			ID            string
			Error         *httpapi.Problem
		}
	}
	require.NoError(t, json.Unmarshal(reply.Body, &list))
	var statuses []int
	for i, item := range list.Data {
		require.Equal(t, i, item.Index)
		statuses = append(statuses, item.Status)
	}
	require.Equal(t, []int{201, 422, 201, 422, 201, 201, 422}, statuses)
	require.Equal(t, "/3/text", list.Data[3].Error.Errors[0].Pointer)
	require.True(t, list.Data[2].Replayed)
	require.True(t, list.Data[5].Replayed, "it is the one before again")
	require.Equal(t, list.Data[4].ID, list.Data[5].ID)
	require.Equal(t, []string{"a", "b", "d"}, b.stored(t))

	again, err := b.in.Do(t.Context(), &intake.Request[word]{Items: items(), Array: true, Key: key})
	require.NoError(t, err)
	require.Equal(t, intake.Reply{Status: 207, Body: reply.Body, Replayed: true}, again)
	other := *key
	other.Fingerprint = idempotency.Fingerprint([]byte("other"))
	_, err = b.in.Do(t.Context(), &intake.Request[word]{Items: items(), Array: true, Key: &other})
	require.ErrorIs(t, err, idempotency.ErrMismatch)
	require.Equal(t, []string{"a", "b", "d"}, b.stored(t))
}

func TestArrayOfWhichNothingIsGoodKeepsNoKey(t *testing.T) {
	t.Parallel()
	b := start(t)
	close(b.gate)
	key := &idempotency.Reservation{Key: idempotency.Key{Tenant: "default", Scope: "words", Key: "whole"}}
	bad := intake.Refused[word](fault.InvalidField("", "is bad"))
	_, err := b.in.Do(t.Context(), &intake.Request[word]{Items: []*intake.Item[word]{bad, bad}, Array: true, Key: key})
	require.Equal(t, []fault.Detail{{Pointer: "/0", Detail: "is bad"}, {Pointer: "/1", Detail: "is bad"}}, fault.As(err).Details)
	mended := *key
	mended.Fingerprint = idempotency.Fingerprint([]byte("mended"))
	reply, err := b.in.Do(t.Context(), &intake.Request[word]{Items: []*intake.Item[word]{item("a", "")}, Array: true, Key: &mended})
	require.NoError(t, err)
	require.Equal(t, 201, reply.Status)
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
	_, err = in.Do(t.Context(), single(item("a", "k")))
	f := fault.As(err)
	require.NotNil(t, f, "%v", err)
	require.Equal(t, fault.Unavailable, f.Kind)
	require.Positive(t, f.RetryAfter)
	stop()
	<-done
}
