package bench

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/pg"
)

// scheduled is how late schedules fire that are due in the same second.
type scheduled struct {
	Schedules int `json:"schedules"`
	Together  int `json:"due_together"`
	OneOff    int `json:"one_off"` // schedules beside them that wait for one time each
	Fires     int `json:"fires"`
	// Decided is from the time of a fire to that of the transaction that makes its job,
	// Started to the start of the job's attempt.
	Decided latency `json:"decided"`
	Started latency `json:"started"`
}

const (
	// manySchedules wait for a later hour, and dueTogether fire in the same second, every
	// five of them.
	manySchedules = 9_000
	dueTogether   = 1_000
)

// benchSchedules fires schedules for a while, and again beside as many one-off ones as
// --scheduled says.
func benchSchedules(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) error {
		return s.withApp(ctx, app.Options{Serve: true, Work: true}, func(url string) error {
			return s.withPool(func(db *pg.DB) error {
				for _, copies := range []struct {
					body string
					n    int
				}{
					{`{"every":"1h","action":{"job":{"kind":"log","payload":{"message":"hourly"},"queue":"bench"}}}`, manySchedules},
					{`{"cron":"*/5 * * * * *","action":{"job":{"kind":"log","payload":{"message":"tick"}}}}`, dueTogether},
				} {
					if err := makeSchedules(ctx, db, url, copies.body, copies.n); err != nil {
						return err
					}
				}
				if err := s.fireFor(ctx, db, 0); err != nil {
					return err
				}
				if err := makeSchedules(ctx, db, url, `{"at":"`+time.Now().AddDate(0, 0, 2).UTC().Format(time.RFC3339)+`","action":{"event":{"type":"later"}}}`, b.o.Scheduled); err != nil {
					return err
				}
				return s.fireFor(ctx, db, b.o.Scheduled)
			})
		})
	})
}

// makeSchedules makes a schedule by the API, and all but one of n by copying its row. The
// copies have UUIDv7s too, so that those which were made together lie together.
func makeSchedules(ctx context.Context, db *pg.DB, url, body string, n int) error {
	if n == 0 {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/schedules", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	_, status, answer, err := send(client, req)
	if err != nil {
		return err
	}
	if status != http.StatusCreated {
		return fmt.Errorf("make a schedule: %d %s", status, answer)
	}
	_, err = db.ExecContext(ctx, `
		INSERT INTO signalstack.schedules (id, tenant, name, spec, action, one_off, paused, anchor, next_at, due_at, created_at, updated_at)
		SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid, tenant, '', spec, action, one_off, paused, anchor, next_at, due_at, now(), now()
		FROM (SELECT * FROM signalstack.schedules ORDER BY created_at DESC, id DESC LIMIT 1) AS s, generate_series(2, $1::int) AS i`, n)
	if err != nil {
		return fmt.Errorf("copy a schedule: %w", err)
	}
	return settleTables(ctx, db)
}

// fireFor lets the schedules fire for a while and reports how late they were.
func (s *scratch) fireFor(ctx context.Context, db *pg.DB, oneOff int) error {
	var from time.Time
	// Whole fires alone count: from the next one on.
	if err := db.GetContext(ctx, &from, `SELECT date_bin('5 seconds', now(), '2000-01-01Z') + interval '5 seconds'`); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	spell := 2 * s.seconds()
	wait(ctx, spell+6*time.Second)
	var late []struct {
		Decided float64
		Started float64
	}
	err := db.SelectContext(ctx, &late, `
		SELECT extract(epoch FROM f.made_at - f.fire_at)::float8 * 1000 AS decided, extract(epoch FROM a.started_at - f.fire_at)::float8 * 1000 AS started
		FROM signalstack.schedule_fires AS f JOIN signalstack.attempts AS a ON a.job_id = f.job_id
		WHERE f.fire_at >= $1 AND f.fire_at < $1::timestamptz + $2 * interval '1 second'`, from, spell.Seconds())
	if err != nil {
		return fmt.Errorf("read the fires: %w", err)
	}
	decided, started := make([]time.Duration, len(late)), make([]time.Duration, len(late))
	for i, l := range late {
		decided[i], started[i] = time.Duration(l.Decided*float64(time.Millisecond)), time.Duration(l.Started*float64(time.Millisecond))
	}
	r := scheduled{
		Schedules: manySchedules + dueTogether, Together: dueTogether, OneOff: oneOff, Fires: len(late),
		Decided: latencyOf(decided), Started: latencyOf(started),
	}
	if want := dueTogether * int(spell/(5*time.Second)); len(late) != want {
		return fmt.Errorf("%d fires had their jobs run, of %d", len(late), want)
	}
	s.report.latency(fmt.Sprintf("fire to its job, %d one-off beside", oneOff), r.Decided)
	s.report.latency("  to the start of the attempt", r.Started)
	s.report.Schedules = append(s.report.Schedules, r)
	return nil
}
