package webhooks_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// work runs a worker beside the bundle until the test ends.
func (b *bundle) work(t *testing.T) {
	t.Helper()
	require.NoError(t, queue.EnsureAhead(t.Context(), b.db))
	cfg := jobs.RunnerConfig{Queues: map[string]int{queue.DefaultQueue: 60}, Lease: 10 * time.Second, Poll: 100 * time.Millisecond, FullPass: time.Second}
	runner := jobs.NewRunner(cfg, b.db, b.db, jobs.NewRegistry(b.kind), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = runner.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
}

// deliver makes jobs for an endpoint, as POST /jobs does.
func (b *bundle) deliver(t *testing.T, endpoint uuid.UUID, n int) (ids []uuid.UUID) {
	t.Helper()
	batch := make([]queue.NewJob, n)
	for i := range batch {
		batch[i] = queue.NewJob{
			ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: webhooks.KindName, Queue: queue.DefaultQueue, Priority: queue.DefaultPriority,
			MaxAttempts: b.kind.MaxAttempts, Timeout: b.kind.Timeout, EndpointID: uuid.NullUUID{UUID: endpoint, Valid: true},
			Payload: fmt.Appendf(nil, `{"endpoint_id":%q,"type":"ping","data":{"n":%d}}`, endpoint, i),
		}
		ids = append(ids, batch[i].ID)
	}
	require.NoError(t, pg.InTx(t.Context(), b.db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, batch) }))
	return ids
}

// await waits until a job has made so many attempts and none is under way.
func (b *bundle) await(t *testing.T, id uuid.UUID, attempts int) jobs.Detailed {
	t.Helper()
	var job jobs.Detailed
	require.Eventually(t, func() bool {
		var err error
		job, err = jobs.Get(context.Background(), b.db, id)
		return err == nil && len(job.Attempts) >= attempts && job.Attempts[len(job.Attempts)-1].FinishedAt != nil
	}, 60*time.Second, 20*time.Millisecond, "job %s made %d of %d attempts and is %s", id, len(job.Attempts), attempts, job.State)
	// The job was read before its attempts, and may have ended in between.
	job, err := jobs.Get(t.Context(), b.db, id)
	require.NoError(t, err)
	return job
}

func exchangeOf(t *testing.T, a jobs.Attempt) jobs.Exchange {
	t.Helper()
	var e jobs.Exchange
	require.NoError(t, json.Unmarshal(a.Exchange, &e))
	return e
}

// behaviour is what a receiver does, and what the attempt at it comes to.
type behaviour struct {
	does    act
	url     string // of a receiver that is none of the stage's
	more    string // of the endpoint
	state   string
	outcome string
	class   string
	status  int
	cut     bool          // the body did not come to its end
	next    time.Duration // what the receiver asked for
	enabled bool
	within  time.Duration // 0: at once
}

// Of behaviours.
const (
	ok    = "HTTP/1.1 200 OK\r\n"
	hourS = time.Hour
)

// taken, again and spared are what most behaviours come to: the webhook is delivered, is
// tried again, or is tried again as if it had not been.
func taken(status int, does act) behaviour {
	return behaviour{does: does, state: "succeeded", outcome: "succeeded", status: status, enabled: true}
}

func again(status int, does act) behaviour {
	return behaviour{does: does, state: "retrying", outcome: "error", status: status, next: hourS, enabled: true}
}

func noAnswer(class string, does act) behaviour {
	b := again(0, does)
	b.class = class
	return b
}

func spared(status int, asks time.Duration, does act) behaviour {
	b := again(status, does)
	b.outcome, b.next = "throttled", asks
	return b
}

func (b behaviour) ofUntil(within time.Duration, change ...func(*behaviour)) behaviour {
	b.within = within
	for _, c := range change {
		c(&b)
	}
	return b
}

func cut(b *behaviour) { b.cut = true }

func timedOut(b *behaviour) { b.outcome, b.class = "timeout", "timeout" }

// behaviours are all that a receiver is known to do.
func behaviours(t *testing.T, s *stage) map[string]behaviour {
	t.Helper()
	const patience = 5 * time.Second // for which a body is waited for
	long := strings.Repeat("x", 1<<16)
	all := map[string]behaviour{
		"200": taken(200, answers(200)), "201": taken(201, answers(201)), "299": taken(299, answers(299)),
		"204":                           taken(204, says("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")),
		"301 to itself":                 again(301, answers(301, "Location: "+s.url+"/moved")),
		"301 to where nobody is to go":  again(301, answers(301, "Location: http://169.254.169.254/latest/meta-data/")),
		"404":                           again(404, answers(404)),
		"500":                           again(500, answers(500)),
		"999":                           again(999, answers(999)),
		"429":                           again(429, answers(429)),
		"429, in seconds":               spared(429, 1800*time.Second, answers(429, "Retry-After: 1800")),
		"429, a date":                   spared(429, 40*time.Minute, answersAt(429, 40*time.Minute)),
		"503, a date":                   spared(503, 20*time.Minute, answersAt(503, 20*time.Minute)),
		"429, in a year":                spared(429, time.Hour, answers(429, "Retry-After: 31536000")),
		"500, in seconds":               again(500, answers(500, "Retry-After: 60")),
		"410":                           {does: answers(410), state: "failed", outcome: "permanent", status: 410},
		"asks to end it":                {does: answers(400, "webhook-delivery: abort-message"), state: "failed", outcome: "permanent", status: 400, enabled: true},
		"asks for no more":              {does: answers(500, "Webhook-Delivery: disable"), state: "failed", outcome: "permanent", status: 500},
		"takes it and asks for no more": {does: answers(200, "Webhook-Delivery: disable"), state: "succeeded", outcome: "succeeded", status: 200},
		"hangs":                         again(0, hangs).ofUntil(time.Second, timedOut),
		"slow headers":                  again(0, drips("HTTP/1.1 200 OK\r\nX: ", "y")).ofUntil(time.Second, timedOut),
		"slow body":                     taken(200, drips(ok+"\r\n", "y")).ofUntil(patience, cut),
		"slow body of a 500":            again(500, drips("HTTP/1.1 500 No\r\n\r\n", "y")).ofUntil(patience, cut),
		"endless body":                  taken(200, floods(ok+"\r\n", long)).ofUntil(0, cut),
		"endless headers":               noAnswer("protocol", floods(ok, "X: "+long[:1<<10]+"\r\n")),
		"endless 1xx":                   noAnswer("protocol", floods("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")),
		"101":                           again(101, says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")),
		"huge header":                   noAnswer("protocol", says(ok+"X: "+long+long+"\r\n\r\n")),
		"no HTTP":                       noAnswer("protocol", says("SSH-2.0-OpenSSH_9.2\r\n\r\n")),
		"bad status line":               noAnswer("protocol", says("HTTP/1.1 two hundred\r\n\r\n")),
		"gzip bomb":                     taken(200, bomb(t)).ofUntil(0, cut),
		"short body":                    taken(200, says(ok+"Content-Length: 100\r\n\r\nhalf")).ofUntil(0, cut),
		"bad chunks":                    taken(200, says(ok+"Transfer-Encoding: chunked\r\n\r\nzz\r\n")).ofUntil(0, cut),
		"closes":                        noAnswer("reset", closes),
		"closes within the headers":     noAnswer("reset", says("HTTP/1.1 200 OK\r\nX: ")),
		"resets":                        noAnswer("reset", resets("")),
		"resets within the headers":     noAnswer("reset", resets("HTTP/1.1 200 OK\r\nX: ")),
		"resets within the body":        taken(200, resets(ok+"Content-Length: 100\r\n\r\nhalf")).ofUntil(0, cut),
		"refuses":                       {url: refusing(t), state: "retrying", outcome: "error", class: "refused", next: hourS, enabled: true},
		"no such name":                  {url: "http://nobody.invalid/", state: "retrying", outcome: "error", class: "dns", next: hourS, enabled: true},
	}
	for name, b := range badTLS(t) {
		all[name] = b
	}
	return all
}

// badTLS are receivers that are not to be spoken to.
func badTLS(t *testing.T) map[string]behaviour {
	t.Helper()
	all := map[string]behaviour{}
	add := func(name string, served tls.Certificate, trusted string, newest uint16) {
		url, through := overTLS(t, &tls.Config{Certificates: []tls.Certificate{served}, MinVersion: tls.VersionTLS10, MaxVersion: newest})
		t.Cleanup(func() { require.Zero(t, through.Load(), name) })
		b := noAnswer("tls", nil)
		b.url = url
		if trusted != "" {
			text, err := json.Marshal(webhooks.TLSFiles{CA: trusted})
			require.NoError(t, err)
			b.more = `,"tls":` + string(text)
		}
		all[name] = b
	}
	until := time.Now().Add(24 * time.Hour)
	good, authority := issued(t, "127.0.0.1", until)
	add("unknown authority", good, "", tls.VersionTLS13)
	add("TLS 1.0", good, authority, tls.VersionTLS10)
	add("TLS 1.1", good, authority, tls.VersionTLS11)
	other, authority := issued(t, "hooks.example", until)
	add("other name", other, authority, tls.VersionTLS13)
	old, authority := issued(t, "127.0.0.1", time.Now().Add(-time.Minute))
	add("expired", old, authority, tls.VersionTLS13)
	plain, _ := receiver(t, http.StatusOK)
	b := noAnswer("tls", nil)
	b.url = strings.Replace(plain, "http:", "https:", 1)
	all["no TLS"] = b
	return all
}

// TestEachBehaviourOfAReceiverHasItsOutcome has a worker deliver to receivers that do all
// that a receiver is known to do, and reads what is on record of it.
func TestEachBehaviourOfAReceiverHasItsOutcome(t *testing.T) {
	t.Parallel()
	b, s := start(t), openStage(t)
	b.work(t)
	type running struct {
		behaviour
		endpoint, job uuid.UUID
	}
	all := map[string]running{}
	for name, does := range behaviours(t, s) {
		url := does.url
		if url == "" {
			url = s.play("/"+strings.ReplaceAll(name, " ", "-"), does.does)
		}
		e := b.create(t, url, does.more+`,"timeout":"`+timeoutOf(does)+`","retry":{"strategy":"ladder","ladder":["1h"],"jitter":"none"}`)
		all[name] = running{does, e.ID, b.deliver(t, e.ID, 1)[0]}
	}
	for name, r := range all {
		job := b.await(t, r.job, 1)
		require.Len(t, job.Attempts, 1, name)
		attempt, exchange := job.Attempts[0], exchangeOf(t, job.Attempts[0])
		require.Equal(t, []string{r.state, r.outcome}, []string{attempt.State, attempt.Outcome}, "%s: %s", name, attempt.Error)
		require.Equal(t, []any{r.class, r.status}, []any{exchange.ErrorClass, exchange.Status}, "%s: %s", name, attempt.Error)
		require.Equal(t, r.cut, exchange.Truncated, name)
		require.LessOrEqual(t, len([]rune(exchange.Body)), 16<<10, name)
		require.GreaterOrEqual(t, *attempt.DurationMS, (r.within - 100*time.Millisecond).Milliseconds(), name)
		require.Less(t, *attempt.DurationMS, (r.within + 20*time.Second).Milliseconds(), name)
		if r.next == 0 {
			require.Nil(t, job.NextAttemptAt, name)
		} else {
			require.InDelta(t, r.next.Seconds(), job.NextAttemptAt.Sub(*attempt.FinishedAt).Seconds(), 30, name)
		}
		shown := b.endpoint(t, http.StatusOK, http.MethodGet, "/endpoints/"+r.endpoint.String(), "")
		require.Equal(t, r.enabled, shown.Enabled, name)
		if r.does != nil {
			require.Len(t, s.arrivals("/"+strings.ReplaceAll(name, " ", "-")), 1, "%s: one attempt is one request", name)
		}
	}
	require.Empty(t, s.arrivals("/moved"), "no redirect is followed")
}

// timeoutOf is the timeout of an endpoint: short where it is what ends the attempt.
func timeoutOf(b behaviour) string {
	if b.outcome == "timeout" {
		return "1s"
	}
	return "1m"
}

// TestHostileAnswersCostBoundedMemory takes in what is large on the wire, or would be once
// it is unpacked. Not parallel: the heap is that of the whole process.
func TestHostileAnswersCostBoundedMemory(t *testing.T) { //nolint:paralleltest // see above
	b, s := start(t), openStage(t)
	long := strings.Repeat("x", 1<<16)
	var ids []uuid.UUID
	for path, does := range map[string]act{
		"/bomb": bomb(t), "/endless": floods(ok+"\r\n", long), "/headers": floods(ok, "X: "+long[:1<<10]+"\r\n"), "/1xx": floods("", "HTTP/1.1 103 Hint\r\nX: "+long[:1<<10]+"\r\n\r\n"),
	} {
		ids = append(ids, b.create(t, s.play(path, does), "").ID)
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	ctx, stop := context.WithCancel(t.Context())
	var measuring, delivering sync.WaitGroup
	measuring.Go(func() {
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapAlloc))
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	for range 5 {
		for _, id := range ids {
			delivering.Go(func() { _, _ = b.kind.Run(ctx, b.job(id, "1")) })
		}
	}
	delivering.Wait()
	stop()
	measuring.Wait()
	grown := int64(most.Load()) - int64(before.HeapAlloc)
	require.Less(t, grown, int64(48<<20), "20 attempts at once took %d MiB", grown>>20)
	// What was sent beyond that stood in the buffers of sockets when the sender left.
	require.Less(t, s.written.Load(), int64(256<<20))
}
