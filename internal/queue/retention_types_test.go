package queue_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

func TestTypeThatIsKeptLongerOutlivesItsDay(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO signalstack.event_types (tenant, type, description, mode, retention_ms, created_at, updated_at)
		SELECT tenant, type, '', 'off', ms, now(), now()
		FROM (VALUES ('default', 'long', 100 * 86400000::bigint), ('default', 'forever', 0), ('default', 'plain', NULL), ('acme', 'push', 0)) AS t (tenant, type, ms)`)
	require.NoError(t, err)
	p, whole := newPast(t, db, 40), newPast(t, db, 200)
	of := func(p *past, eventType string) uuid.UUID {
		id := p.event(t)
		_, err := db.ExecContext(t.Context(), `UPDATE signalstack.events SET type = $2 WHERE id = $1`, id, eventType)
		require.NoError(t, err)
		return id
	}
	long, forever := of(p, "long"), of(p, "forever")
	for range 4 {
		of(p, "plain")
		p.event(t) // a type that nobody registered for this tenant
	}
	of(whole, "long")
	require.NoError(t, retention(db).Pass(t.Context()))
	require.Equal(t, []uuid.UUID{long, forever}, kept(t, db, `SELECT id FROM signalstack.events ORDER BY id`))
	require.Zero(t, whole.relations(t), "its time is over too")
}

// What is erased while its partition is copied must not come back with the copy.
func TestWhatIsErasedDuringTheCopyStaysErased(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"jobs", "attempts", "events"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			p := newPast(t, db, 40)
			event := p.event(t)
			job := p.ended(t, queue.Failed, p.jobs(t, 1, forEvent(event), func(j *queue.NewJob) { j.Payload = []byte(`"personal"`) })...)
			for range 10 {
				p.event(t)
			}
			p.ended(t, queue.Succeeded, p.jobs(t, 10)...)
			_, err := db.ExecContext(t.Context(), `UPDATE signalstack.attempts SET error = 'personal', exchange = '{}'`)
			require.NoError(t, err)
			r := retention(db)
			r.Keep.Failed = 0 // for ever, and its event as well

			hold, err := db.BeginTxx(t.Context(), nil)
			require.NoError(t, err)
			_, err = hold.ExecContext(t.Context(), `LOCK TABLE ONLY signalstack.`+table+` IN ACCESS SHARE MODE`)
			require.NoError(t, err)
			done := make(chan error, 1)
			go func() { done <- r.Pass(context.Background()) }()
			begun(t, db, "LOCK TABLE ONLY signalstack."+table)
			require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
				if _, err := tx.ExecContext(t.Context(), `UPDATE signalstack.events SET data = NULL, erased_at = now() WHERE id = $1`, event); err != nil {
					return err
				}
				running, err := queue.Erase(t.Context(), tx, []uuid.UUID{event})
				require.Empty(t, running)
				return err
			}))
			require.NoError(t, hold.Rollback())
			require.NoError(t, <-done)
			require.NoError(t, r.Pass(t.Context()), "where the copy was given up, it is made now")
			require.Equal(t, job, keptJobs(t, db))
			require.Equal(t, 1, count(t, db, "events"), "all others are gone")
			require.Equal(t, 1, count(t, db, "events WHERE data IS NULL"))
			require.Equal(t, 1, count(t, db, "jobs WHERE payload IS NULL"))
			require.Equal(t, 2, count(t, db, "attempts"))
			require.Equal(t, 2, count(t, db, "attempts WHERE exchange IS NULL AND error = 'The data of its event was erased.'"))
		})
	}
}
