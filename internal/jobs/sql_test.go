package jobs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// fromSQL calls enqueue with arguments as they stand in SQL.
func fromSQL(t *testing.T, q pg.Querier, arguments string, values ...any) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, q.GetContext(t.Context(), &id, `SELECT signalstack.enqueue(`+arguments+`)`, values...), arguments)
	return id
}

func begin(t *testing.T, db *pg.DB) *sqlx.Tx {
	t.Helper()
	tx, err := db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() }) // of a test that ended early
	return tx
}

func rowsIn(t *testing.T, q pg.Querier, table string) int {
	t.Helper()
	var n int
	require.NoError(t, q.GetContext(t.Context(), &n, `SELECT count(*) FROM signalstack.`+table))
	return n
}

// addEndpoint adds the row of an endpoint of the default tenant.
func addEndpoint(t *testing.T, q pg.Querier) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	_, err := q.ExecContext(t.Context(), `
		INSERT INTO signalstack.endpoints (id, tenant, url, description, secret, event_types, headers, enabled, created_at, updated_at)
		VALUES ($1, 'default', 'https://example.com', '', '', '{}', '', true, now(), now())`, id)
	require.NoError(t, err)
	return id
}

// rowsOf gives what the tables say of a job, but for what is the job's alone: its id
// and its place in its ordering key.
func rowsOf(t *testing.T, q pg.Querier, id uuid.UUID) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for table, key := range map[string]string{"jobs": "id", "ready": "job_id", "scheduled": "job_id", "ordered": "job_id"} {
		var row string
		err := q.GetContext(t.Context(), &row, fmt.Sprintf(
			`SELECT to_jsonb(r) - '%[2]s' - 'seq' - 'ordering_key' FROM signalstack.%[1]s AS r WHERE %[2]s = $1`, table, key), id)
		if !errors.Is(err, sql.ErrNoRows) {
			require.NoError(t, err)
			rows[table] = row
		}
	}
	return rows
}

func TestEnqueueFromSQLWritesWhatTheBinaryWrites(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	endpoint := addEndpoint(t, db)
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	webhook := `{"endpoint_id":"` + endpoint.String() + `","type":"a\\b\u0000","data":{"x":"\\u0000 \u0000 \ud800"}}`
	job := func(change func(*queue.NewJob)) queue.NewJob {
		j := queue.NewJob{Tenant: "default", Kind: "http", Queue: "default", Priority: 2, MaxAttempts: 8, Timeout: 15 * time.Second}
		change(&j)
		return j
	}
	for arguments, want := range map[string]queue.NewJob{
		`'http'`: job(func(*queue.NewJob) {}),
		`kind => 'http', payload => '{"a":1, "a":1e400,"\u0000":"é"}', queue => 'q', priority => 4, max_attempts => 1000, timeout => '1 day'`: job(func(j *queue.NewJob) {
			j.Payload, j.Queue, j.Priority, j.MaxAttempts, j.Timeout = []byte(`{"a":1, "a":1e400,"\u0000":"é"}`), "q", 4, 1000, 24*time.Hour
		}),
		`'http', run_at => '` + due.Format(time.RFC3339Nano) + `', tenant => 'acme'`: job(func(j *queue.NewJob) { j.RunAt, j.Tenant = due, "acme" }),
		`'http', run_at => '2020-01-01T00:00:00Z'`:                                   job(func(j *queue.NewJob) { j.RunAt = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }),
		`'http', limit_key => 'crm'`:                                                 job(func(j *queue.NewJob) { j.LimitKey = "crm" }),
		`'http', ordering_key => 'of SQL'`:                                           job(func(j *queue.NewJob) { j.OrderingKey = "of the binary" }),
		`'http', ordering_key => 'of SQL', on_failure => 'skip'`: job(func(j *queue.NewJob) {
			j.OrderingKey, j.Skips = "of the binary", true
		}),
		`'http', ordering_key => 'of SQL', run_at => '` + due.Format(time.RFC3339Nano) + `'`: job(func(j *queue.NewJob) {
			j.OrderingKey, j.RunAt = "of the binary", due
		}),
		`'webhook', '` + webhook + `', timeout => '0.0019 s'`: job(func(j *queue.NewJob) {
			j.Kind, j.Payload, j.MaxAttempts, j.Timeout = "webhook", []byte(webhook), 10, time.Millisecond
			j.EndpointID = uuid.NullUUID{UUID: endpoint, Valid: true}
		}),
		`'email', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL`: job(func(j *queue.NewJob) { j.Kind, j.Queue, j.Timeout = "email", "email", 30*time.Second }),
		`'log', retry => '{"base": "5s"}'`:                                    job(func(j *queue.NewJob) { j.Kind, j.Retry = "log", `{"base": "5s"}` }),
	} {
		tx := begin(t, db)
		want.ID = uuid.Must(uuid.NewV7())
		require.NoError(t, jobs.Write(t.Context(), tx, []queue.NewJob{want}))
		id := fromSQL(t, tx, arguments)
		require.Equal(t, rowsOf(t, tx, want.ID), rowsOf(t, tx, id), arguments)
		var counts []int
		require.NoError(t, tx.SelectContext(t.Context(), &counts, `SELECT count(*) FROM signalstack.analytics_deltas AS d GROUP BY d`))
		require.Equal(t, []int{2}, counts, "the same count, twice: %s", arguments)
		require.NoError(t, tx.Rollback())
	}
}

func TestJobFromSQLIsThereWhenItsTransactionIsCommitted(t *testing.T) {
	t.Parallel()
	ran := make(chan jobs.Job, 10)
	b := start(t, func(_ context.Context, j jobs.Job) (jobs.Result, error) {
		ran <- j
		return jobs.Result{}, nil
	})
	tx := begin(t, b.db)
	fromSQL(t, tx, `'test'`)
	require.NoError(t, tx.Rollback())
	for _, table := range []string{"jobs", "ready", "analytics_deltas"} {
		require.Zero(t, rowsIn(t, b.db, table), table)
	}
	tx = begin(t, b.db)
	payload := `{"b": 1,"a":"\u0000"}`
	id := fromSQL(t, tx, `'test', $1`, payload)
	unknown := fromSQL(t, tx, `'kind-of-tomorrow'`)
	require.NoError(t, tx.Commit())
	job := <-ran
	require.Equal(t, id, job.ID)
	require.Equal(t, payload, string(job.Payload))
	b.await(t, id, queue.Succeeded)
	left := b.await(t, unknown, queue.Scheduled)
	require.Empty(t, left.Attempts, "a binary that knows the kind may come")
}

func TestEnqueueFromSQLNotifiesAtTheCommit(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	heard := make(chan string, 10)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = pg.Listen(ctx, db, queue.Channel, func(p string) { heard <- p }) }()
	require.Empty(t, <-heard, "a new connection says that something may have been missed")
	tx := begin(t, db)
	fromSQL(t, tx, `'test', run_at => now() + interval '1 hour'`)
	fromSQL(t, tx, `'test', limit_key => 'x'`)
	fromSQL(t, tx, `'test', limit_key => 'x'`)
	fromSQL(t, tx, `'test', run_at => now() + interval '1 second'`)
	require.NoError(t, tx.Commit())
	ready, soon := queue.ParseNotice(<-heard), queue.ParseNotice(<-heard)
	require.Equal(t, queue.NoticeReady, ready.Kind)
	require.Equal(t, "default", ready.Queue)
	require.Equal(t, []string{"default#x"}, ready.Lanes)
	require.Equal(t, queue.NoticeScheduled, soon.Kind)
	require.WithinDuration(t, time.Now(), soon.At, time.Minute)
}

// TestOrderHoldsForJobsOfSQLAndOfTheBinary has writers of both kinds add to one key
// at once, and works the jobs.
func TestOrderHoldsForJobsOfSQLAndOfTheBinary(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	const writers, each = 6, 5
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for range each {
				errs[w] = pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
					if w%2 == 0 {
						var id uuid.UUID
						return tx.GetContext(t.Context(), &id, `SELECT signalstack.enqueue('test', ordering_key => 'k')`)
					}
					return queue.Enqueue(t.Context(), tx, []queue.NewJob{{
						ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: "test", Queue: "default", Priority: 2,
						OrderingKey: "k", MaxAttempts: 3, Timeout: time.Minute,
					}})
				})
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	var want, got []uuid.UUID
	require.NoError(t, db.SelectContext(t.Context(), &want, `
		SELECT job_id FROM (SELECT job_id, 0 AS seq FROM signalstack.ready UNION ALL SELECT job_id, seq FROM signalstack.ordered) AS came ORDER BY seq`))
	require.Len(t, want, writers*each)
	c := queue.NewClaimer(db, "default", uuid.Must(uuid.NewV7()), time.Minute, 0)
	for range want {
		claimed, err := c.Claim(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, claimed, 1, "one after the other")
		got = append(got, claimed[0].ID)
		require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
			_, err := queue.Settle(t.Context(), tx, []queue.Settlement{{
				JobID: claimed[0].ID, Lease: claimed[0].Lease, Tenant: "default", OrderingKey: "k", State: queue.Succeeded, Outcome: queue.OutcomeSucceeded,
			}})
			return err
		}))
	}
	require.Equal(t, want, got)
	require.Zero(t, rowsIn(t, db, "ready")+rowsIn(t, db, "ordering_keys"))

	tx, err := db.BeginTxx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), `SELECT signalstack.enqueue('test', ordering_key => 'k')`)
	require.ErrorContains(t, err, "ordering_key needs a READ COMMITTED transaction, this one is REPEATABLE READ")
}

func TestEnqueueFromSQLRefusesWhatTheAPIRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	endpoint := addEndpoint(t, db).String()
	for arguments, complaint := range map[string]string{
		`''`:                                                                  "kind must be 1 to 63 letters",
		`NULL`:                                                                "kind must be",
		`'a b'`:                                                               "kind must be",
		`'http', queue => '-q'`:                                               "queue must be 1 to 63 letters",
		`'http', queue => repeat('q', 64)`:                                    "queue must be",
		`'http', queue => 'é'`:                                                "queue must be",
		`'http', queue => E'q\n'`:                                             "queue must be",
		`'http', tenant => 'a/b'`:                                             "tenant must be 1 to 63 letters",
		`'http', priority => 0`:                                               "priority must be 1 to 4",
		`'http', priority => 5`:                                               "priority must be 1 to 4",
		`'http', max_attempts => 0`:                                           "max_attempts must be 1 to 1000",
		`'http', max_attempts => 1001`:                                        "max_attempts must be 1 to 1000",
		`'http', timeout => '0.9 milliseconds'`:                               "timeout must be an interval from 1 millisecond to 24 hours",
		`'http', timeout => '24 h 1 s'`:                                       "timeout must be",
		`'http', timeout => '-1 s'`:                                           "timeout must be",
		`'http', run_at => now() + '11 years'`:                                "run_at must be at most ten years ahead",
		`'http', run_at => 'infinity'`:                                        "run_at must be a time from the year 1 to 9999",
		`'http', run_at => '-infinity'`:                                       "run_at must be a time",
		`'http', run_at => '0044-03-15 BC'`:                                   "run_at must be a time",
		`'http', on_failure => 'skip'`:                                        "on_failure goes with an ordering_key",
		`'http', ordering_key => 'k', on_failure => 'wait'`:                   "on_failure must be block or skip",
		`'http', ordering_key => repeat('k', 256)`:                            "ordering_key must have at most 255 characters",
		`'http', ordering_key => E'a\tb'`:                                     "ordering_key must not hold control characters",
		`'http', limit_key => repeat('k', 256)`:                               "limit_key must have at most 255 characters",
		`'http', limit_key => E'\x7f'`:                                        "limit_key must not hold control characters",
		`'http', '{'`:                                                         "payload must be JSON, such as jsonb_build_object(...)::text makes: The input string ended unexpectedly.",
		`'http', ' '`:                                                         "payload must be JSON",
		`'http', 'NaN'`:                                                       "payload must be JSON",
		`'http', '"` + "\n" + `"'`:                                            "payload must be JSON",
		`'http', repeat('[', 513) || repeat(']', 513)`:                        "payload must not nest deeper than 512 levels",
		`'http', repeat('{"a":', 513) || 1 || repeat('}',513)`:                "payload must not nest deeper",
		`'http', repeat('[', 100000) || repeat(']', 100000)`:                  "payload must not nest deeper",
		`'http', '"' || repeat('x', 1048575) || '"'`:                          "payload must have at most 1048576 bytes",
		`'http', retry => '[]'`:                                               "retry must be an object",
		`'http', retry => '{"bas":"5s"}'`:                                     "retry must hold strategy, base, factor, cap, ladder and jitter only",
		`'http', retry => '{"strategy":"linear"}'`:                            "retry must have the strategy exponential or ladder",
		`'http', retry => '{"jitter":"some"}'`:                                "retry must have the jitter full, proportional or none",
		`'http', retry => '{"base":5}'`:                                       "retry must have waits such as 90s",
		`'http', retry => '{"cap":"soon"}'`:                                   "retry must have waits such as 90s",
		`'http', retry => '{"factor":"2"}'`:                                   "retry must have a number as factor",
		`'http', retry => '{"factor":0.5}'`:                                   "retry must have a factor from 1 to 100",
		`'http', retry => '{"ladder":["5s"]}'`:                                "retry must have no ladder beside the strategy exponential",
		`'http', retry => '{"strategy":"ladder"}'`:                            "retry must have a ladder of waits",
		`'http', retry => '{"strategy":"ladder","ladder":[]}'`:                "retry must have a ladder of 1 to 100 waits",
		`'http', retry => '{"strategy":"ladder","ladder":["5s",7]}'`:          "retry must have waits such as 90s",
		`'http', retry => '{"strategy":"ladder","ladder":["5s"],"cap":"1h"}'`: "retry must have no base, factor or cap",
		`'webhook'`:                 "payload of a webhook must have a type",
		`'webhook', '[]'`:           "payload of a webhook must be",
		`'webhook', '{"type":"a"}'`: "payload of a webhook must have an endpoint_id",
		`'webhook', '{"type":"a","endpoint_id":"7"}'`:                               "payload of a webhook must have an endpoint_id",
		`'webhook', '{"type":"","endpoint_id":"` + endpoint + `"}'`:                 "payload of a webhook must have a type",
		`'webhook', '{"type":7,"endpoint_id":"` + endpoint + `"}'`:                  "payload of a webhook must have a type",
		`'webhook', '{"type":"a\n","endpoint_id":"` + endpoint + `"}'`:              "type in the payload must not hold control characters",
		`'webhook', '{"type":"a","url":"x","endpoint_id":"` + endpoint + `"}'`:      "payload of a webhook must hold endpoint_id, type and data only",
		`'webhook', '{"type":"a","endpoint_id":"` + endpoint + `"}', tenant => 'x'`: "payload must have the endpoint_id of an endpoint of this tenant",
		`'webhook', '{"type":"a","endpoint_id":"` + uuid.NewString() + `"}'`:        "payload must have the endpoint_id of an endpoint of this tenant",
	} {
		_, err := db.ExecContext(t.Context(), `SELECT signalstack.enqueue(`+arguments+`)`)
		var refusal *pq.Error
		require.ErrorAs(t, err, &refusal, arguments)
		require.Equal(t, "22023", string(refusal.Code), "%s: %v", arguments, err)
		require.Contains(t, refusal.Message, complaint, arguments)
	}
	require.Zero(t, rowsIn(t, db, "jobs"))
	for _, arguments := range []string{
		`'http', repeat('[', 512) || repeat(']', 512)`, `'http', '"' || repeat('x', 1048574) || '"'`, `'http', '"' || repeat('\"[{', 600) || '"'`,
		`'http', '[' || repeat('[[]],', 2000) || '1]'`, `'http', ordering_key => repeat('é', 255)`, `'http', run_at => now() + interval '3650 days'`,
		`'http', retry => '{"strategy":"ladder","ladder":["0","1h30m","1.5s"],"jitter":"none"}'`, `'http', retry => '{"base":"1ms","factor":1.5,"cap":"2h"}'`,
	} {
		fromSQL(t, db, arguments)
	}
}

func TestEnqueueFromSQLMakesPartitionsThatAreMissing(t *testing.T) {
	t.Parallel()
	partitions := func(db *pg.DB) (all []string) {
		require.NoError(t, db.SelectContext(t.Context(), &all, `
			SELECT relname || ' ' || pg_get_expr(relpartbound, oid) FROM pg_class
			WHERE relispartition AND relkind = 'r' AND relname ~ '^(events|jobs|attempts)_' ORDER BY 1`))
		return all
	}
	bySQL, byBinary := pgtest.New(t), pgtest.New(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = bySQL.ExecContext(t.Context(), `SELECT signalstack.enqueue('http')`) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, queue.EnsurePartitions(t.Context(), byBinary, time.Now()))
	require.Len(t, partitions(bySQL), 3)
	require.Equal(t, partitions(byBinary), partitions(bySQL))
	require.Equal(t, 4, rowsIn(t, bySQL, "jobs"))
}

func TestUUIDsOfSQLAreSortedByTimeAndOfVersion7(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var ids []uuid.UUID
	require.NoError(t, db.SelectContext(t.Context(), &ids, `
		SELECT signalstack.uuid7('2026-11-24T12:00:00.123Z'::timestamptz + n * interval '1 microsecond') FROM generate_series(0, 5000) AS n ORDER BY n`))
	for i, id := range ids {
		require.Equal(t, uuid.Version(7), id.Version())
		require.Equal(t, uuid.RFC4122, id.Variant())
		require.Equal(t, time.Date(2026, 11, 24, 12, 0, 0, (123+i/1000)*1e6, time.UTC), queue.IDTime(id).UTC())
		if i > 0 {
			require.Greater(t, id.String(), ids[i-1].String())
		}
	}
	var now uuid.UUID
	require.NoError(t, db.GetContext(t.Context(), &now, `SELECT signalstack.uuid7()`))
	require.WithinDuration(t, time.Now(), queue.IDTime(now), time.Minute)
}

func TestApplicationNeedsNoRightButToCall(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.New(t)) // roles belong to the server, so this one is never committed
	role := pq.QuoteIdentifier("application of " + uuid.NewString())
	try := func(statement string) error {
		_, err := tx.ExecContext(t.Context(), `SAVEPOINT s`)
		require.NoError(t, err)
		if _, err = tx.ExecContext(t.Context(), statement); err != nil {
			_, undo := tx.ExecContext(t.Context(), `ROLLBACK TO s`)
			require.NoError(t, undo)
		}
		return err
	}
	require.NoError(t, try(`CREATE ROLE `+role))
	require.NoError(t, try(`GRANT USAGE ON SCHEMA signalstack TO `+role))
	require.NoError(t, try(`SET LOCAL ROLE `+role))
	for _, call := range []string{`SELECT signalstack.enqueue('http', ordering_key => 'k')`, `SELECT signalstack.send_event('a', '{}')`} {
		require.ErrorContains(t, try(call), "permission denied for function")
		require.NoError(t, try(`RESET ROLE`))
		require.NoError(t, try(`GRANT EXECUTE ON FUNCTION signalstack.enqueue, signalstack.send_event TO `+role))
		require.NoError(t, try(`SET LOCAL ROLE `+role))
		require.NoError(t, try(call))
		require.NoError(t, try(`RESET ROLE`))
		require.NoError(t, try(`REVOKE EXECUTE ON FUNCTION signalstack.enqueue, signalstack.send_event FROM `+role))
		require.NoError(t, try(`SET LOCAL ROLE `+role))
	}
	require.ErrorContains(t, try(`DELETE FROM signalstack.jobs`), "permission denied")
	require.ErrorContains(t, try(`SELECT * FROM signalstack.outbox`), "permission denied")
}
