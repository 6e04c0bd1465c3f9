package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/labstack/echo/v4"

	"github.com/signalstack/signalstack/internal/pg"
)

// bareEvent is what the bare handler reads of a request, with the ids under which it
// is stored.
type bareEvent struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`

	id, job uuid.UUID
}

// withBare serves the least that answers POST /events with the same durability: an
// echo handler without middleware that decodes the body, shares a transaction with the
// other callers by the same group commit, writes the event, a job and its ready row in
// one statement, and answers with the id. It checks nothing, looks for no rule, counts
// nothing, tells nobody and knows no keys.
func (s *scratch) withBare(ctx context.Context, f func(url string) error) error {
	return s.withPool(func(db *pg.DB) error {
		group := pg.NewGroup(pg.GroupConfig[*bareEvent]{MaxSize: 1000, MaxWaiting: 10_000}, storeBare(db))
		e := echo.New()
		e.POST("/events", func(c echo.Context) error {
			in := &bareEvent{id: uuid.Must(uuid.NewV7()), job: uuid.Must(uuid.NewV7())}
			if err := c.Bind(in); err != nil {
				return err
			}
			id, err := group.Do(c.Request().Context(), in)
			if err != nil {
				return err
			}
			return c.JSON(http.StatusCreated, map[string]uuid.UUID{"id": id})
		})
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("listen for the bare handler: %w", err)
		}
		ctx, stop := context.WithCancel(ctx)
		server := &http.Server{Handler: e, ReadHeaderTimeout: 5 * time.Second}
		var running sync.WaitGroup
		running.Go(func() { group.Run(ctx, 1) })
		running.Go(func() { _ = server.Serve(l) }) // ends by Close
		err = f("http://" + l.Addr().String())
		err = errors.Join(err, server.Close())
		stop()
		running.Wait()
		return err
	})
}

func storeBare(db *pg.DB) func(context.Context, []*bareEvent) []pg.Outcome[uuid.UUID] {
	return func(ctx context.Context, batch []*bareEvent) []pg.Outcome[uuid.UUID] {
		n := len(batch)
		outcomes := make([]pg.Outcome[uuid.UUID], n)
		for i, e := range batch {
			outcomes[i].Value = e.id
		}
		err := pg.InSteadyTx(ctx, db, func(tx *sqlx.Tx) error {
			_, err := tx.ExecContext(ctx, `
				WITH given AS MATERIALIZED (
				    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[]) AS g (id, job, type, data)
				), event AS (
				    INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at, data)
				    SELECT id, 'default', type, '', '', '', now(), now(), data FROM given
				), job AS (
				    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, event_id, event_type, ordering_key,
				                                  max_attempts, timeout_ms, retry, created_at)
				    SELECT job, 'default', 'log', 'bench', 'default', 2, now(), id, type, '', 1, 60000, '', now() FROM given
				)
				INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
				SELECT job, 'bench', 'default', 2, now(), 0, 0 FROM given`,
				pg.UUIDs(n, func(i int) uuid.UUID { return batch[i].id }), pg.UUIDs(n, func(i int) uuid.UUID { return batch[i].job }),
				pg.Texts(n, func(i int) string { return batch[i].Type }), pg.Blobs(n, func(i int) []byte { return batch[i].Data }))
			return err
		})
		if err != nil {
			return pg.FailAll[*bareEvent, uuid.UUID](batch, err)
		}
		return outcomes
	}
}
