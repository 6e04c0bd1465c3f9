package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/app"
)

// deliveryRates are the rates, in events a second, at which latency is measured.
var deliveryRates = []int{50, 1000}

// delivery is how webhooks came to a receiver on this machine. Their time runs from
// the POST of the event, or when that was due, to the arrival of the webhook.
type delivery struct {
	Steady []deliveryAt   `json:"steady"`
	Full   []deliveryFull `json:"full"`
}

type deliveryAt struct {
	Rate int `json:"events_per_second"`
	latency
}

// deliveryFull is what was delivered when events were posted as fast as they arrived.
type deliveryFull struct {
	Endpoints       int     `json:"endpoints"`
	EventsPerSecond float64 `json:"events_per_second"` // from the first POST to the last arrival
	Repeats         int     `json:"repeats"`
	latency
}

// benchDelivery posts events to a process of all roles, each of which one endpoint
// subscribes to, and counts signed webhooks where they arrive.
func benchDelivery(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) error {
		return s.withDelivery(ctx, func(_ string, p *poster) error {
			b.report.Delivery = &delivery{}
			for _, rate := range deliveryRates {
				if err := s.deliverAt(ctx, p, rate); err != nil {
					return err
				}
			}
			for _, spread := range []int{healthyEndpoints, 1} {
				p.spread = spread
				if err := s.deliverFull(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// withDelivery runs a process of all roles and a receiver with the healthy endpoints.
func (s *scratch) withDelivery(ctx context.Context, f func(url string, p *poster) error) error {
	r, err := startReceiver(ctx)
	if err != nil {
		return err
	}
	err = s.withApp(ctx, app.Options{Serve: true, Work: true, AllowLoopback: true}, func(url string) error {
		for i := range healthyEndpoints {
			path := fmt.Sprint(pathHealthy, i)
			made, err := subscribe(ctx, url, r.url+path, fmt.Sprintf("bench.to%d", i))
			if err == nil {
				err = r.expect(path, made.Secret)
			}
			if err != nil {
				return err
			}
		}
		return f(url, newPoster(url+"/events", r))
	})
	return errors.Join(err, r.server.Close())
}

// subscribed is an endpoint as it was made.
type subscribed struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// subscribe makes an endpoint that gets the events of a type.
func subscribe(ctx context.Context, api, receiver, eventType string) (made subscribed, err error) {
	err = ask(ctx, "POST", api+"/endpoints", fmt.Sprintf(`{"url":%q,"event_types":[%q]}`, receiver, eventType), &made)
	return made, err
}

// until is true for a time.
func until(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().Before(end) }
}

func (s *scratch) seconds() time.Duration { return time.Duration(s.o.Seconds) * time.Second }

func (s *scratch) deliverAt(ctx context.Context, p *poster, rate int) error {
	span, err := p.atRate(ctx, s.o.Connections, rate, until(s.seconds()))
	if err != nil {
		return err
	}
	took, _, err := p.delivered(ctx, span)
	if err != nil {
		return err
	}
	at := deliveryAt{rate, latencyOf(took)}
	s.report.latency(fmt.Sprintf("POST to webhook at %d events/s", rate), at.latency)
	s.report.Delivery.Steady = append(s.report.Delivery.Steady, at)
	return nil
}

func (s *scratch) deliverFull(ctx context.Context, p *poster) error {
	span, err := p.atFull(ctx, s.o.Connections, s.seconds())
	if err != nil {
		return err
	}
	took, last, err := p.delivered(ctx, span)
	if err != nil {
		return err
	}
	full := deliveryFull{Endpoints: p.spread, EventsPerSecond: float64(len(took)) / last.Sub(span.began).Seconds(), latency: latencyOf(took)}
	p.to.mu.Lock()
	full.Repeats = p.to.repeats
	p.to.mu.Unlock()
	s.report.line("%-36s %9.0f/s   %d arrived, %d twice, with %d connections",
		fmt.Sprintf("events to webhooks, %d endpoints", full.Endpoints), full.EventsPerSecond, len(took), full.Repeats, s.o.Connections)
	s.report.latency(fmt.Sprintf("  with up to %d under way", atMost), full.latency)
	s.report.Delivery.Full = append(s.report.Delivery.Full, full)
	return nil
}
