package webhooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// Batch lets an endpoint get several events in one request.
type Batch struct {
	MaxEvents int    `json:"max_events" minimum:"2" maximum:"100" doc:"How many events a request has at most"`
	MaxWait   string `json:"max_wait" doc:"How long an event waits for others at most, from 100ms to 1h" example:"5s"`
}

// Bounds of a batch.
const (
	minWait = 100 * time.Millisecond
	maxWait = time.Hour
	// maxBatchBytes bounds a request of several events; one event may exceed it alone.
	maxBatchBytes = 4 << 20
)

// check gives the mistakes that the schema does not know.
func (b *Batch) check() []fault.Detail {
	switch {
	case b == nil:
		return nil
	case b.MaxWait == "":
		return []fault.Detail{{Pointer: "/batch/max_wait", Detail: "is missing; give a duration such as 5s"}}
	}
	return checkDuration("/batch/max_wait", b.MaxWait, minWait, maxWait)
}

// checkBatch refuses what no batch can be: CloudEvents in binary mode are one to a
// request (HTTP binding 3.1), and what is to come one after the other.
func checkBatch(d Delivery, format string) []fault.Detail {
	switch {
	case d.Batch == nil:
		return nil
	case d.Ordering != nil:
		return []fault.Detail{{Pointer: "/ordering", Detail: "cannot be had beside batch, whose events are delivered and fail together; send one of them, and take the other away with reset"}}
	case format != formatBinary:
		return nil
	}
	return []fault.Detail{{Pointer: "/batch", Detail: "cannot be had with the format " + formatBinary + ", which has one event in a request; use " + formatStructured}}
}

// batches says whether events go to the endpoint together. To one that does not answer
// goes one event at a time, to see whether it is back.
func (t target) batches() bool {
	return t.Batch != nil && t.Health.State != open && t.Health.State != probing
}

// collector holds the webhooks of an endpoint back until enough have come. Which job is
// the last of a batch is counted in each process for itself, and roughly: a job that
// comes to nothing counts too. No job waits longer for it, and no request has more.
type collector struct {
	most  int64
	wait  time.Duration
	count atomic.Int64
}

// Collect lets a webhook wait for company where its endpoint wants that. One that has a
// time or an order of its own keeps it.
func (s *Subscribers) Collect(job *queue.NewJob) {
	to := s.byID[job.EndpointID.UUID]
	if to == nil || to.collector == nil || job.Kind != KindName || job.Unmade != "" || job.Delay > 0 || job.OrderingKey != "" || job.LimitKey != "" {
		return
	}
	if c := to.collector; c.count.Add(1)%c.most != 0 { // else it is the one that the others waited for
		job.Delay, job.Gathers = c.wait, true
	}
}

// collectorOf gives what holds the webhooks of an endpoint back; nil: nothing does.
func collectorOf(b *Batch) *collector {
	if b == nil {
		return nil
	}
	wait, err := time.ParseDuration(b.MaxWait)
	if err != nil || b.MaxEvents < 1 {
		return nil // what was stored was checked
	}
	return &collector{most: int64(b.MaxEvents), wait: wait}
}

// deliverBatch makes one attempt at several webhooks.
func (d *deliverer) deliverBatch(ctx context.Context, all []jobs.Job, to target) (int, jobs.Result, error) {
	header := http.Header{}
	for name, value := range to.headers {
		header.Set(name, value)
	}
	items, err := fit(all, to.Format)
	if err != nil {
		return 1, jobs.Result{}, jobs.Permanent(err)
	}
	n, id, body := len(items), batchID(items), join(items, to, header)
	request, err := sign(to, id, to.now, header, body)
	if err != nil {
		return n, jobs.Result{}, err
	}
	result, err := d.send(ctx, all[0], to, request)
	if result.Exchange != nil {
		result.Exchange.Batch = &jobs.ExchangeBatch{ID: id, Size: n}
	}
	return n, result, err
}

// batchID names a request by the webhooks in it, so that the same ones sent again are
// known again. Each has its own id within.
func batchID(items []batchItem) string {
	h := sha256.New()
	for _, item := range items {
		_, _ = h.Write(item.id[:])
	}
	return "batch_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// batchItem is one webhook of a batch.
type batchItem struct {
	id   uuid.UUID
	body []byte
}

// fit gives as many of the jobs, from the first, as a request holds, in the order in
// which they were made. One that cannot be written is left for an attempt of its own,
// which tells why.
func fit(all []jobs.Job, format string) ([]batchItem, error) {
	var items []batchItem
	bytes := 0
	for _, job := range all {
		body, err := writeItem(job, format)
		if err != nil && len(items) == 0 {
			return nil, err
		}
		if bytes += len(body); err != nil || len(items) > 0 && bytes > maxBatchBytes {
			break
		}
		items = append(items, batchItem{job.ID, body})
	}
	slices.SortFunc(items, func(a, b batchItem) int { return slices.Compare(a.id[:], b.id[:]) })
	return items, nil
}

// join gives the body of a batch: a standard webhook of the type batch whose data are
// those of each event, or an array of CloudEvents (JSON batch format).
func join(items []batchItem, to target, header http.Header) []byte {
	header.Set("Content-Type", "application/json")
	begin, end := `{"type":"batch","timestamp":"`+to.now.UTC().Format(time.RFC3339Nano)+`","data":[`, `]}`
	if to.Format == formatStructured {
		header.Set("Content-Type", cloudevents.MediaBatch+"; charset=utf-8")
		begin, end = "[", "]"
	}
	bodies := make([][]byte, len(items))
	for i, item := range items {
		bodies[i] = item.body
	}
	return slices.Concat([]byte(begin), bytes.Join(bodies, []byte(",")), []byte(end))
}

func writeItem(job jobs.Job, format string) ([]byte, error) {
	e, at, err := eventOf(job)
	if err != nil {
		return nil, err
	}
	if format == formatStructured {
		return e.Structured(), nil
	}
	item, err := standard(e, at)
	if err != nil {
		return nil, err
	}
	return append([]byte(fmt.Sprintf(`{"id":%q,`, job.ID)), item[1:]...), nil
}
