package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// probe times a claim now and then, and settles what it got.
func (l *load) probe(ctx context.Context, db *pg.DB) error {
	c := queue.NewClaimer(db, queue.DefaultQueue, uuid.Must(uuid.NewV7()), lease, 10*time.Second)
	c.Listens()
	for ; ctx.Err() == nil; wait(ctx, probeEvery) {
		// As if told of a job of a transaction that has just ended, so that the claim looks
		// for jobs at all.
		c.Hear(queue.Notice{Kind: queue.NoticeReady, Queue: c.Queue, Lanes: []string{httpapi.DefaultTenant}, At: time.Now().Add(-probedTx)})
		start := time.Now()
		got, err := c.Claim(ctx, probeLimit)
		took := time.Since(start)
		if err != nil {
			return err
		}
		if err := settle(ctx, db, got); err != nil {
			return err
		}
		l.probed.Add(int64(len(got)))
		l.mu.Lock()
		l.claims = append(l.claims, claimed{start, took})
		l.mu.Unlock()
	}
	return nil
}

func settle(ctx context.Context, db *pg.DB, got []queue.Claimed) error {
	if len(got) == 0 {
		return nil
	}
	all := make([]queue.Settlement, len(got))
	for i := range got {
		all[i] = queue.Settlement{
			JobID: got[i].ID, Lease: got[i].Lease, Tenant: got[i].Tenant, OrderingKey: got[i].OrderingKey,
			State: queue.Succeeded, Outcome: queue.OutcomeSucceeded,
		}
	}
	return pg.InSteadyTx(ctx, db, func(tx *sqlx.Tx) error {
		_, err := queue.Settle(ctx, tx, all)
		return err
	})
}

// phase is what was seen in a span of time.
type phase struct {
	JobsPerSecond float64 `json:"jobs_per_second"`
	Claim         latency `json:"claim"`
	// StatementMS is the mean time of the claims' statement, of all workers, by the
	// server's own count; nil: not counted.
	StatementMS *float64 `json:"claim_statement_mean_ms,omitempty"`
}

// phase lets time pass and gives what was seen in it.
func (l *load) phase(ctx context.Context, d time.Duration) phase {
	from := time.Now()
	calls, ms := l.claimStatements(ctx)
	wait(ctx, d)
	p := l.between(from, time.Now())
	if callsNow, msNow := l.claimStatements(ctx); callsNow > calls {
		p.StatementMS = new((msNow - ms) / float64(callsNow-calls))
	}
	return p
}

// between gives what was seen from one time to another.
func (l *load) between(from, to time.Time) phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	var inside []counted
	for _, c := range l.counts {
		if !c.at.Before(from) && !c.at.After(to) {
			inside = append(inside, c)
		}
	}
	var p phase
	if len(inside) > 1 {
		first, last := inside[0], inside[len(inside)-1]
		p.JobsPerSecond = float64(last.done-first.done) / last.at.Sub(first.at).Seconds()
	}
	var took []time.Duration
	for _, c := range l.claims {
		if !c.at.Before(from) && !c.at.After(to) {
			took = append(took, c.took)
		}
	}
	p.Claim = latencyOf(took)
	return p
}

// claimStatements gives how often the claims' statement ran and how long in all;
// zeros where the server does not count.
func (l *load) claimStatements(ctx context.Context) (calls int64, ms float64) {
	if !l.s.statements {
		return 0, 0
	}
	var found struct {
		Calls int64
		MS    float64
	}
	err := l.s.admin.GetContext(ctx, &found, `
		SELECT coalesce(sum(p.calls), 0)::bigint AS calls, coalesce(sum(p.total_exec_time), 0)::float8 AS ms
		FROM pg_stat_statements AS p JOIN pg_database AS d ON d.oid = p.dbid
		WHERE d.datname = $1 AND p.query LIKE '%INSERT INTO signalstack.running%'`, l.s.name)
	if err != nil {
		l.fail(fmt.Errorf("read the time of claims: %w", err))
	}
	return found.Calls, found.MS
}
