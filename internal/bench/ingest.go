package bench

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/app"
)

const (
	// ingestTurns is how often each part of ingest has its turn: what else the machine
	// does meets all of them alike, and the median leaves out the worst.
	ingestTurns = 5
	// eventsInBatch and batchConnections are those of the batches.
	eventsInBatch    = 100
	batchConnections = 16
)

// ingest is what POST /events reaches, beside a bare handler in turn.
type ingest struct {
	Parts []*ingestPart `json:"parts"`
	// Ratios of the product's rate to that of the bare handler, medians of the turns.
	RatioMany float64 `json:"ratio"`
	RatioOne  float64 `json:"ratio_one_connection"`
}

// ingestPart is one way to send events.
type ingestPart struct {
	Name            string  `json:"name"`
	Connections     int     `json:"connections"`
	EventsPerCall   int     `json:"events_per_request"`
	EventsPerSecond float64 `json:"events_per_second"` // median of the turns
	WALBytes        float64 `json:"wal_bytes_per_event"`
	Answered        latency `json:"answered"`

	target string
	body   []byte
	rates  []float64
	took   []time.Duration
	wal    int64
}

// benchIngest sends events to the product, of which one rule matches each and makes
// one job, and to the bare handler, in turn and on one database.
func benchIngest(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) error {
		return s.withBare(ctx, func(bare string) error {
			return s.withApp(ctx, app.Options{Serve: true}, func(product string) error {
				rule := `{"name":"bench","pattern":{"type":["bench.event"]},"actions":[{"kind":"log","payload":{"message":"bench"},"queue":"bench"}]}`
				if err := post(ctx, product+"/rules", []byte(rule)); err != nil {
					return err
				}
				return s.ingest(ctx, bare+"/events", product+"/events")
			})
		})
	})
}

// The places of the parts.
const (
	bareMany = iota
	productMany
	bareOne
	productOne
)

func (s *scratch) ingest(ctx context.Context, bare, product string) error {
	event := []byte(`{"type":"bench.event","data":{"text":"` + strings.Repeat("x", 950) + `"}}`)
	batch := slices.Concat([]byte("["), bytes.Repeat(slices.Concat(event, []byte(",")), eventsInBatch-1), event, []byte("]"))
	many := s.o.Connections
	parts := []*ingestPart{
		bareMany:    {Name: "bare handler", Connections: many, EventsPerCall: 1, target: bare, body: event},
		productMany: {Name: "events", Connections: many, EventsPerCall: 1, target: product, body: event},
		bareOne:     {Name: "bare handler", Connections: 1, EventsPerCall: 1, target: bare, body: event},
		productOne:  {Name: "events", Connections: 1, EventsPerCall: 1, target: product, body: event},
		{Name: "events in batches", Connections: batchConnections, EventsPerCall: eventsInBatch, target: product, body: batch},
	}
	for turn := range ingestTurns {
		order := slices.Clone(parts)
		if turn%2 == 1 {
			slices.Reverse(order)
		}
		for _, p := range order {
			if err := s.takeTurn(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
	}
	s.reportIngest(parts)
	return nil
}

// takeTurn sends for the part's share of --seconds.
func (s *scratch) takeTurn(ctx context.Context, p *ingestPart) error {
	before, err := s.walBytes(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	took, err := callFor(ctx, p.target, p.body, p.Connections, time.Duration(s.o.Seconds)*time.Second/ingestTurns)
	if err != nil {
		return err
	}
	p.rates = append(p.rates, float64(len(took)*p.EventsPerCall)/time.Since(start).Seconds())
	p.took = append(p.took, took...)
	after, err := s.walBytes(ctx)
	p.wal += after - before
	return err
}

// walBytes is how much WAL the whole server has written.
func (s *scratch) walBytes(ctx context.Context) (n int64, err error) {
	err = s.admin.GetContext(ctx, &n, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`)
	if err != nil {
		return 0, fmt.Errorf("read the position of the WAL: %w", err)
	}
	return n, nil
}

func (s *scratch) reportIngest(parts []*ingestPart) {
	for _, p := range parts {
		p.EventsPerSecond, p.Answered = median(p.rates), latencyOf(p.took)
		p.WALBytes = float64(p.wal) / float64(max(1, len(p.took)*p.EventsPerCall))
		label := fmt.Sprintf("%s, %d connections", p.Name, p.Connections)
		if p.Connections == 1 {
			label = p.Name + ", 1 connection"
		}
		s.report.line("%-36s %9.0f/s   %d in %d turns, %.2f KiB of WAL each", label, p.EventsPerSecond, len(p.took)*p.EventsPerCall, len(p.rates), p.WALBytes/1024)
		s.report.latency("  answered in", p.Answered)
	}
	r := &ingest{
		Parts:     parts,
		RatioMany: medianRatio(parts[productMany].rates, parts[bareMany].rates),
		RatioOne:  medianRatio(parts[productOne].rates, parts[bareOne].rates),
	}
	s.report.line("%-36s %.0f %% with %d connections, %.0f %% with one", "  of the bare handler's rate", 100*r.RatioMany, s.o.Connections, 100*r.RatioOne)
	s.report.Ingest = r
}

// medianRatio compares turn by turn.
func medianRatio(a, b []float64) float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = ratio(a[i], b[i])
	}
	return median(ratios)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}
