package analytics

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// Fact is what a delta counts.
type Fact string

// The facts: an event that was accepted, one of those whose data broke the schema of its
// type, a job that was created, an attempt that
// ended (outcome: succeeded, error, timeout, crashed ...), a job that reached a
// final state (outcome: succeeded, failed or canceled), a job that was taken up
// again after that.
const (
	EventAccepted Fact = "event"
	EventWarned   Fact = "event_warned"
	JobCreated    Fact = "job_created"
	AttemptEnded  Fact = "attempt"
	JobEnded      Fact = "job"
	JobReopened   Fact = "job_reopened"
)

// The outcomes of JobEnded, which are the final states of a job.
const (
	succeeded = "succeeded"
	failed    = "failed"
	canceled  = "canceled"
)

// Delta is one fact to be counted, in the transaction that makes it true. Fields
// that a fact does not have stay zero.
type Delta struct {
	Fact       Fact
	Tenant     string
	Outcome    string
	Kind       string
	Queue      string
	Type       string // of the event
	EndpointID uuid.UUID
	// Duration counts in the histogram when Timed is set and the fact is
	// AttemptEnded: that a job ended says nothing new about it.
	Duration time.Duration
	Timed    bool
}

// cell is what facts are counted by: two facts in one cell are one row.
type cell struct {
	fact                                    Fact
	tenant, outcome, kind, queue, eventType string
	endpoint                                uuid.UUID
	bucket                                  int
}

func (d Delta) cell() cell {
	c := cell{
		fact: d.Fact, tenant: d.Tenant, outcome: d.Outcome, kind: d.Kind, queue: d.Queue, eventType: d.Type,
		endpoint: d.EndpointID, bucket: noBucket,
	}
	if d.timed() {
		c.bucket = bucketOf(d.Duration)
	}
	return c
}

func (d Delta) timed() bool { return d.Timed && d.Fact == AttemptEnded }

func compareCells(a, b cell) int {
	return cmp.Or(
		cmp.Compare(a.fact, b.fact), cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.outcome, b.outcome),
		cmp.Compare(a.kind, b.kind), cmp.Compare(a.queue, b.queue), cmp.Compare(a.eventType, b.eventType),
		slices.Compare(a.endpoint[:], b.endpoint[:]), cmp.Compare(a.bucket, b.bucket),
	)
}

// total is what a cell amounts to.
type total struct{ n, us int64 }

// Record counts facts in the caller's transaction.
func Record(ctx context.Context, q pg.Querier, deltas []Delta) error {
	if len(deltas) == 0 {
		return nil
	}
	if err := Recording(deltas).Run(ctx, q); err != nil {
		return fmt.Errorf("record %d facts: %w", len(deltas), err)
	}
	return nil
}

// Recording is the statement that counts facts, of which there is at least one: it
// writes one row for each cell and not for each fact, so that a batch of a thousand
// settles writes a few. Facts belong to the minute in which the transaction began.
func Recording(deltas []Delta) pg.Write {
	totals := make(map[cell]total)
	for i := range deltas {
		d := &deltas[i]
		c := d.cell()
		t := totals[c]
		t.n++
		if d.timed() {
			t.us += max(0, d.Duration).Microseconds()
		}
		totals[c] = t
	}
	// The table has no index and no key, so inserts wait for nobody.
	return pg.Write{
		SQL: `
		INSERT INTO signalstack.analytics_deltas (at, fact, tenant, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us)
		SELECT date_trunc('minute', now()), d.*
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::smallint[], $9::bigint[], $10::bigint[]) AS d`,
		Args: columns(totals),
	}
}

// columns gives the cells in a fixed order, as arrays.
func columns(totals map[cell]total) []any {
	cells := slices.SortedFunc(maps.Keys(totals), compareCells)
	var facts, tenants, outcomes, kinds, queues, types, endpoints pq.StringArray
	var buckets, counts, sums pq.Int64Array
	for _, c := range cells {
		facts, tenants, outcomes = append(facts, string(c.fact)), append(tenants, c.tenant), append(outcomes, c.outcome)
		kinds, queues, types = append(kinds, c.kind), append(queues, c.queue), append(types, c.eventType)
		endpoints, buckets = append(endpoints, c.endpoint.String()), append(buckets, int64(c.bucket))
		counts, sums = append(counts, totals[c].n), append(sums, totals[c].us)
	}
	return []any{facts, tenants, outcomes, kinds, queues, types, endpoints, buckets, counts, sums}
}
