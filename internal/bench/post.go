package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// healthyEndpoints is how many healthy endpoints there are. Each event is of the type of
// one of them, in turn.
const healthyEndpoints = 10

// typeMark stands before the number of an event's endpoint.
var typeMark = []byte(`"type":"bench.to`)

// poster posts numbered events, and knows when each was posted.
type poster struct {
	target string
	body   []byte
	to     *receiver
	spread int // over so many endpoints
	number atomic.Int64

	mu     sync.Mutex
	posted map[int]time.Time
}

func newPoster(target string, to *receiver) *poster {
	body := fmt.Sprintf(`%s0","data":{%s%0*d","text":"%s"}}`, "{"+string(typeMark), numberMark, numberDigits, 0, strings.Repeat("x", 900))
	return &poster{target: target, body: []byte(body), to: to, spread: healthyEndpoints, posted: map[int]time.Time{}}
}

// made is an event's request, in which the number is changed for each call.
type made struct {
	*caller
	kind, number []byte // places in the request
}

func (p *poster) dial(ctx context.Context) (*made, error) {
	c, err := dial(ctx, p.target, p.body)
	if err != nil {
		return nil, err
	}
	kind, number := bytes.Index(c.request, typeMark)+len(typeMark), bytes.Index(c.request, numberMark)+len(numberMark)
	return &made{caller: c, kind: c.request[kind : kind+1], number: c.request[number : number+numberDigits]}, nil
}

// post posts an event whose posting was due at a time.
func (p *poster) post(m *made, n int, due time.Time) error {
	p.mu.Lock()
	p.posted[n] = due
	p.mu.Unlock()
	m.kind[0] = '0' + byte(n%p.spread) //nolint:gosec // one digit
	text := strconv.Itoa(n)
	for i := range m.number[:numberDigits-len(text)] {
		m.number[i] = '0'
	}
	copy(m.number[numberDigits-len(text):], text)
	return m.call()
}

// span are the events that were posted one after the other, [from, to).
type span struct {
	from, to int
	began    time.Time
}

// each runs f with a number of connections at once. The numbers that it takes are a
// span.
func (p *poster) each(ctx context.Context, connections int, f func(*made) error) (span, error) {
	s := span{from: int(p.number.Load()), began: time.Now()}
	errs := make([]error, connections)
	var posting sync.WaitGroup
	for i := range connections {
		m, err := p.dial(ctx)
		if err != nil {
			errs[i] = err
			break
		}
		posting.Go(func() {
			errs[i] = errors.Join(f(m), m.conn.Close())
		})
	}
	posting.Wait()
	s.to = int(p.number.Load())
	return s, errors.Join(append(errs, ctx.Err())...)
}

// atRate posts by the clock while more says so. What waits for a connection counts as
// posted when it was due.
func (p *poster) atRate(ctx context.Context, connections, rate int, more func() bool) (span, error) {
	type event struct {
		n   int
		due time.Time
	}
	next := make(chan event, 10*rate)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(next)
		start := time.Now()
		for i := 0; more() && ctx.Err() == nil; i++ {
			due := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
			wait(ctx, time.Until(due))
			next <- event{int(p.number.Add(1)) - 1, time.Now()}
		}
	}()
	return p.each(ctx, connections, func(m *made) error {
		for e := range next {
			if err := p.post(m, e.n, e.due); err != nil {
				return err
			}
		}
		return nil
	})
}

// atMost is how many events may be under way where posting goes as fast as it can.
const atMost = 2000

// atFull posts as fast as events arrive, for a time.
func (p *poster) atFull(ctx context.Context, connections int, d time.Duration) (span, error) {
	end := time.Now().Add(d)
	before, _ := p.to.arrived()
	first := p.number.Load()
	return p.each(ctx, connections, func(m *made) error {
		for time.Now().Before(end) && ctx.Err() == nil {
			if came, err := p.to.arrived(); err != nil || p.number.Load()-first-int64(came-before) >= atMost {
				wait(ctx, time.Millisecond)
				continue
			}
			if err := p.post(m, int(p.number.Add(1))-1, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// delivered waits until every event of a span has arrived, and gives how long each
// took from its POST and when the last one came.
func (p *poster) delivered(ctx context.Context, s span) (took []time.Duration, last time.Time, err error) {
	// Without progress for this long, something is wrong.
	const patience = 30 * time.Second
	for seen, since := 0, time.Now(); ; wait(ctx, time.Millisecond) {
		came, wrong := p.to.arrived()
		if came > seen {
			seen, since = came, time.Now()
		}
		if err := errors.Join(wrong, ctx.Err()); err != nil {
			return nil, last, err
		}
		if came >= s.to {
			break
		}
		if time.Since(since) > patience {
			return nil, last, fmt.Errorf("%d of %d events did not arrive", s.to-came, s.to)
		}
	}
	p.to.mu.Lock()
	defer p.to.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := s.from; n < s.to; n++ {
		at := p.to.came[n]
		took = append(took, at.Sub(p.posted[n]))
		if at.After(last) {
			last = at
		}
	}
	return took, last, nil
}

// fillArray posts so many events of a type in arrays.
func fillArray(ctx context.Context, target, eventType string, n int) error {
	const items = 1000
	event := fmt.Appendf(nil, `{"type":%q,"data":{"text":%q}}`, eventType, strings.Repeat("x", 100))
	for n > 0 {
		batch := min(n, items)
		body := slices.Concat([]byte("["), bytes.Repeat(slices.Concat(event, []byte(",")), batch-1), event, []byte("]"))
		if err := post(ctx, target, body); err != nil {
			return err
		}
		n -= batch
	}
	return nil
}

// ask sends JSON to the API and reads the JSON of its answer.
func ask(ctx context.Context, method, url, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	_, status, answer, err := send(&http.Client{Timeout: 15 * time.Second}, req)
	if err == nil && status > 299 {
		err = fmt.Errorf("%s %s answered %d: %s", method, url, status, answer)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, into)
}
