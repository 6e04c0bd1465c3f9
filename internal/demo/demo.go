package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/app"
)

// pace is the time between two events: slow enough to read along.
const pace = 120 * time.Millisecond

// patience is how long the last deliveries may take.
const patience = 30 * time.Second

// Run starts everything, shows it at work and ends it. The error says what was
// missing or wrong.
func Run(ctx context.Context, opt app.Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out := &printer{w: opt.Out}
	receiver, err := StartReceiver(ctx, out.delivery)
	if err != nil {
		return err
	}
	defer func() { _ = receiver.Close() }()
	// The story is told on stdout; the log speaks up only when something is wrong.
	opt.Log = slog.New(quiet{opt.Log.Handler()})
	var shown error
	var showing sync.WaitGroup
	started := false
	opt.Ready = func(url string) {
		started = true
		showing.Go(func() {
			defer stop()
			shown = show(ctx, newClient(url, opt.Config.AdminKey), receiver, out)
		})
	}
	err = app.RunAll(ctx, opt)
	showing.Wait()
	if err == nil && !started {
		err = errors.New("the demo was stopped before it began")
	}
	return errors.Join(err, shown)
}

// show sets the stage, sends the webhooks as GitHub does and checks every delivery.
func show(ctx context.Context, c *client, r *Receiver, out *printer) error {
	secret := rand.Text() // GitHub gets it when a webhook is set up there
	s, err := stage(ctx, c, r, out, secret)
	if err != nil {
		return err
	}
	webhooks, err := GitHub()
	if err != nil {
		return err
	}
	var sent []sentEvent
	for _, w := range webhooks {
		e, err := post(ctx, c, s, w.Header(uuid.NewString(), secret), w.Payload)
		if err != nil {
			return err
		}
		out.event(e)
		sent = append(sent, sentEvent{event: e, data: w.Payload})
		select {
		case <-ctx.Done():
			return errors.New("the demo was stopped before its end")
		case <-time.After(pace):
		}
	}
	return check(ctx, c, r, out, sent)
}

// post sends a webhook to the source and gives the event that it became.
func post(ctx context.Context, c *client, s source, header http.Header, payload []byte) (event, error) {
	var got received
	if err := c.send(ctx, http.MethodPost, s.Path, bytes.NewReader(payload), header, &got); err != nil {
		return event{}, err
	}
	var e event
	err := c.call(ctx, http.MethodGet, "/events/"+got.EventID, nil, &e)
	return e, err
}

// stage makes two endpoints on the receiver, two rules and a source for GitHub.
func stage(ctx context.Context, c *client, r *Receiver, out *printer, secret string) (source, error) {
	endpoints := map[string]endpoint{}
	for path, types := range map[string][]string{"/everything": {"com.github.*"}, "/pull-requests": {}} {
		var e endpoint
		in := map[string]any{"url": r.URL(path), "event_types": types}
		if err := c.call(ctx, http.MethodPost, "/endpoints", in, &e); err != nil {
			return source{}, err
		}
		r.Expect(path, e.Secret)
		endpoints[path] = e
		out.line("endpoint  %-15s subscribes to %v", path, types)
	}
	rules := []map[string]any{
		{
			"name": "opened pull requests",
			"pattern": map[string]any{"type": []string{"com.github.pull_request.opened"}, "data": map[string]any{
				"pull_request": map[string]any{"draft": []bool{false}, "changed_files": []any{map[string]any{"numeric": []any{"<", 100}}}},
			}},
			"actions": []map[string]any{{"kind": "webhook", "endpoint_id": endpoints["/pull-requests"].ID}},
		},
		{
			"name":    "log stars of Codertocat",
			"pattern": map[string]any{"type": []any{map[string]string{"prefix": "com.github.star."}}, "data": map[string]any{"sender": map[string]any{"login": []string{"Codertocat"}}}},
			"actions": []map[string]any{{"kind": "log", "payload": map[string]string{"message": "a star"}}},
		},
	}
	for _, rule := range rules {
		if err := c.call(ctx, http.MethodPost, "/rules", rule, nil); err != nil {
			return source{}, err
		}
		out.line("rule      %s", rule["name"])
	}
	var s source
	in := map[string]any{"name": "GitHub", "kind": "github", "secrets": []map[string]string{{"secret": secret}}}
	if err := c.call(ctx, http.MethodPost, "/sources", in, &s); err != nil {
		return source{}, err
	}
	out.line("source    GitHub, at %s\n", s.Path)
	return s, nil
}

// sentEvent is an event with the bytes that must arrive.
type sentEvent struct {
	event
	data []byte
}

// check waits until every job has ended and compares each webhook that it was
// with what arrived.
func check(ctx context.Context, c *client, r *Receiver, out *printer, sent []sentEvent) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var wrong []error
	webhooks := 0
	for _, e := range sent {
		if len(e.Jobs) == 0 {
			wrong = append(wrong, fmt.Errorf("event %s (%s) made no job", e.ID, e.Type))
		}
		for _, made := range e.Jobs {
			j, err := await(ctx, c, made.ID)
			if err != nil {
				return errors.Join(append(wrong, err)...)
			}
			if j.Kind == "webhook" {
				webhooks++
			}
			if err := judge(j, e, r); err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	var s summary
	if err := c.call(ctx, http.MethodGet, "/analytics/summary", nil, &s); err != nil {
		return errors.Join(append(wrong, err)...)
	}
	out.summary(s)
	if len(wrong) == 0 {
		out.line("\n%d events, %d webhooks: each arrived once, byte for byte, and its signature verified.", len(sent), webhooks)
	}
	return errors.Join(wrong...)
}

// await polls a job until it is final: the API has no push yet.
func await(ctx context.Context, c *client, id string) (job, error) {
	for {
		var j job
		if err := c.call(ctx, http.MethodGet, "/jobs/"+id, nil, &j); err != nil {
			return job{}, err
		}
		if j.State == "succeeded" || j.State == "failed" || j.State == "canceled" {
			return j, nil
		}
		select {
		case <-ctx.Done():
			return job{}, fmt.Errorf("job %s (%s) is still %s: %s", j.ID, j.Kind, j.State, j.LastError)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func judge(j job, e sentEvent, r *Receiver) error {
	if j.State != "succeeded" {
		return fmt.Errorf("job %s (%s) is %s: %s", j.ID, j.Kind, j.State, j.LastError)
	}
	if j.Kind != "webhook" {
		return nil
	}
	got := r.Deliveries(j.ID)
	switch {
	case len(got) != 1:
		return fmt.Errorf("job %s arrived %d times", j.ID, len(got))
	case got[0].Err != nil:
		return fmt.Errorf("job %s: %w", j.ID, got[0].Err)
	case got[0].Type != e.Type || !bytes.Equal(got[0].Data, e.data):
		return fmt.Errorf("job %s arrived changed", j.ID)
	}
	return nil
}

// quiet lets only warnings and errors through.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }

// printer writes the story, one line at a time.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *printer) event(e event) {
	p.line("event     %-36s %s  jobs: %d", e.Type, e.ID, len(e.Jobs))
}

func (p *printer) delivery(d Delivery) {
	if d.Err != nil {
		p.line("delivery  %-36s at %-15s WRONG: %v", d.Type, d.Path, d.Err)
		return
	}
	p.line("delivery  %-36s at %-15s signature verified, %d bytes", d.Type, d.Path, len(d.Data))
}

func (p *printer) summary(s summary) {
	p.line("\nanalytics events %d, jobs created %d, succeeded %d, failed %d, success rate %s",
		s.Events, s.Jobs.Created, s.Jobs.Succeeded, s.Jobs.Failed, percent(s.SuccessRate))
	p.line("          duration p50 %s, p95 %s, p99 %s", millis(s.DurationMS.P50), millis(s.DurationMS.P95), millis(s.DurationMS.P99))
}

func percent(f *float64) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", *f*100)
}

func millis(f *float64) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", *f)
}
