package events_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/sealed"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// post is a server with endpoints, an outbox and a worker that delivers to them.
type post struct {
	db   *pg.DB
	http http.Handler

	url string // of the receiver
	mu  sync.Mutex
	got map[string][]arrival // by path
}

type arrival struct {
	header http.Header
	body   string
}

func startPost(t *testing.T) *post {
	t.Helper()
	guard, err := outbound.NewGuard(nil, true)
	require.NoError(t, err)
	p := &post{db: pgtest.New(t), got: map[string][]arrival{}}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.got[r.URL.Path] = append(p.got[r.URL.Path], arrival{r.Header, string(body)})
		p.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(receiver.Close)
	p.url = receiver.URL
	endpoints := &webhooks.Endpoints{DB: p.db, Box: sealed.Plain(), Guard: guard, Log: discard()}
	registry := jobs.NewRegistry(webhooks.Kind(endpoints, outbound.NewClient(guard, "test")))
	a := events.NewAcceptor(p.db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 500}, registry, discard())
	runner := jobs.NewRunner(jobs.RunnerConfig{
		Queues: map[string]int{"default": 10}, Lease: 30 * time.Second, Poll: 50 * time.Millisecond, FullPass: 10 * time.Second, Grace: 10 * time.Second,
	}, p.db, p.db, registry, discard())
	outbox := events.NewOutbox(events.OutboxConfig{KeyTTL: time.Hour}, p.db, registry, discard())
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	running.Go(func() { _ = runner.Run(ctx) })
	running.Go(func() { _ = outbox.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: discard(), Fault: pg.Fault})
	a.Routes(api)
	endpoints.Routes(api)
	(&events.API{DB: p.db, Kinds: registry}).Routes(api)
	(&rules.API{DB: p.db, Kinds: registry}).Routes(api)
	(&jobs.API{DB: p.db, Kinds: registry}).Routes(api)
	p.http = contract.Handler(t, api)
	return p
}

func (p *post) endpoint(t *testing.T, path, fields string) webhooks.Endpoint {
	t.Helper()
	rec := contract.Send(p.http, http.MethodPost, "/endpoints", `{"url":"`+p.url+path+`"`+fields+`}`)
	return contract.Decode[webhooks.Endpoint](t, rec, 201)
}

func (p *post) arrived(path string) []arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[path]
}

// await waits until all jobs have ended.
func (p *post) await(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		err := p.db.GetContext(context.Background(), &n, `SELECT (SELECT count(*) FROM signalstack.outbox) + (SELECT count(*) FROM signalstack.ready) + (SELECT count(*) FROM signalstack.running)`)
		return err == nil && n == 0
	}, 60*time.Second, 20*time.Millisecond)
}

func (p *post) explain(t *testing.T, id uuid.UUID) events.Explained {
	t.Helper()
	return contract.Decode[events.Explained](t, contract.Send(p.http, http.MethodGet, "/events/"+id.String(), ""), 200)
}

// TestEndpointGetsWhatItsFilterTakesAsItsTransformMakesIt sends events by HTTP and by SQL
// and looks at the receiver's side.
func TestEndpointGetsWhatItsFilterTakesAsItsTransformMakesIt(t *testing.T) {
	t.Parallel()
	p := startPost(t)
	shaped := p.endpoint(t, "/shaped", `,"event_types":["order.*.paid"],"pattern":{"data":{"amount":[{"numeric":[">=",100]}]}},"transform":"{text: \"Order \\(.data.id)\", n: .data.n}"`)
	plain := p.endpoint(t, "/plain", `,"pattern":{"data":{"amount":[{"numeric":[">=",100]}]}}`)
	p.endpoint(t, "/other", `,"event_types":["*.refunded"]`)
	send := map[string]func(eventType, data string){
		"HTTP": func(eventType, data string) { accept(t, p.http, `{"type":"`+eventType+`","data":`+data+`}`) },
		"SQL":  func(eventType, data string) { fromSQL(t, p.db, `$1, $2`, eventType, data) },
	}
	for name, send := range send {
		before := len(p.arrived("/shaped"))
		data := `{"id":"` + name + `","n":9007199254740993,"amount":100}`
		send("order.eu.paid", data)
		send("order.eu.paid", `{"id":"small","amount":99.99}`)
		send("order.paid", `{"id":"other type","amount":100,"n":  1e400}`)
		p.await(t)
		got := p.arrived("/shaped")
		require.Len(t, got, before+1, name)
		require.Equal(t, `{"n":9007199254740993,"text":"Order `+name+`"}`, got[before].body, "byte for byte")
		require.Equal(t, "application/json", got[before].header.Get("Content-Type"))
		verifier, err := standardwebhooks.NewWebhook(shaped.Secret)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify([]byte(got[before].body), got[before].header))
		got = p.arrived("/plain")
		require.Len(t, got, 2*(before+1), name)
		bodies := got[2*before].body + got[2*before+1].body
		require.Contains(t, bodies, `"data":`+data+`}`)
		require.Contains(t, bodies, `"data":{"id":"other type","amount":100,"n":  1e400}}`)
		verifier, err = standardwebhooks.NewWebhook(plain.Secret)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify([]byte(got[2*before].body), got[2*before].header))
	}
	require.Empty(t, p.arrived("/other"))

	// A change holds for the events that come after it, in a CloudEvent as its data.
	contract.Send(p.http, http.MethodPatch, "/endpoints/"+shaped.ID.String(), `{"transform":"[.type]","format":"cloudevents-structured"}`)
	accept(t, p.http, `{"type":"order.eu.paid","source":"shop","id":"1","data":{"amount":100}}`)
	p.await(t)
	require.Contains(t, p.arrived("/shaped")[2].body, `"data":["order.eu.paid"]`)
}

// TestRulesGoByTheTransformOfTheEndpoint unless they say of the body themselves.
func TestRulesGoByTheTransformOfTheEndpoint(t *testing.T) {
	t.Parallel()
	p := startPost(t)
	to := p.endpoint(t, "/to", `,"transform":"{id: .data.id}"`)
	require.Empty(t, to.EventTypes)
	action := `{"kind":"webhook","endpoint_id":"` + to.ID.String() + `"`
	act(t, p.http, action+`}`, action+`,"transform":"\"rule\""}`, action+`,"payload":{"a": 1}}`, action+`,"payload":{"b":"<$.data.id>"}}`)
	e := accept(t, p.http, `{"type":"a","data":{"id":7}}`)
	require.Len(t, e.JobIDs, 4)
	p.await(t)
	var bodies []string
	for _, a := range p.arrived("/to") {
		bodies = append(bodies, a.body)
	}
	require.ElementsMatch(t, []string{`{"id":7}`, `"rule"`, `{"a":1}`, `{"b":7}`}, bodies)
}

// TestTransformThatFailsIsAFailedJob of a subscription and of a rule, and no other job
// waits for it.
func TestTransformThatFailsIsAFailedJob(t *testing.T) {
	t.Parallel()
	p := startPost(t)
	wrong := p.endpoint(t, "/wrong", `,"event_types":["a"],"transform":".data.n + 1"`)
	p.endpoint(t, "/right", `,"event_types":["a"]`)
	r := act(t, p.http, `{"kind":"webhook","endpoint_id":"`+wrong.ID.String()+`","idempotency_key":"once","ordering_key":"k"}`)
	for range 2 { // no key is kept for what was not made
		e := accept(t, p.http, `{"type":"a","data":{"n":"text"}}`)
		require.Len(t, e.JobIDs, 3)
		for i, prefix := range []string{`action 0 of rule "r": transform of endpoint ` + wrong.ID.String() + `: cannot add`, `transform of endpoint ` + wrong.ID.String() + `: cannot add`} {
			job := jobOf(t, p.db, e.JobIDs[i])
			require.Equal(t, queue.Failed, job.State)
			require.True(t, strings.HasPrefix(*job.LastError, prefix), *job.LastError)
			require.Equal(t, wrong.ID, *job.EndpointID)
			rec := contract.Send(p.http, http.MethodPost, "/jobs/"+job.ID.String()+"/retry", "")
			require.Equal(t, 409, rec.Code)
			require.Contains(t, rec.Body.String(), "PATCH /endpoints/{id}")
		}
		x := p.explain(t, e.ID)
		require.Contains(t, x.Endpoints[0].TransformError, "cannot add")
		require.True(t, *x.Endpoints[0].Matched)
		require.Equal(t, r.ID, x.Rules[0].RuleID)
		require.Contains(t, x.Rules[0].Actions[0].Error, "cannot add")
		require.Empty(t, x.Endpoints[1].TransformError)
	}
	p.await(t)
	require.Len(t, p.arrived("/right"), 2)
	require.Empty(t, p.arrived("/wrong"))
}

func TestEventSaysWhichEndpointsTakeIt(t *testing.T) {
	t.Parallel()
	p := startPost(t)
	n := `"pattern":{"data":{"n":[1]}}`
	p.endpoint(t, "/", `,"event_types":["x","a.*"],`+n)
	p.endpoint(t, "/", `,"event_types":["*"],"pattern":{"data":{"n":[2]}}`)
	p.endpoint(t, "/", `,"event_types":["b"],`+n)
	p.endpoint(t, "/", `,"event_types":["*.b"],"enabled":false`)
	broken := p.endpoint(t, "/", `,`+n)
	p.endpoint(t, "/", ``)
	p.endpoint(t, "/", `,"event_types":["*"],"tenant":"other"`)
	_, err := p.db.ExecContext(t.Context(), `UPDATE signalstack.endpoints SET pattern = '{}' WHERE id = $1`, broken.ID)
	require.NoError(t, err)
	e := accept(t, p.http, `{"type":"a.b","data":{"n":1}}`)
	require.Len(t, e.JobIDs, 1)
	x := p.explain(t, e.ID)
	require.Len(t, x.Endpoints, 5)
	require.False(t, x.MoreEndpoints)
	var said []string
	for _, v := range x.Endpoints {
		matched := "nothing"
		if v.Matched != nil {
			matched = fmt.Sprint(*v.Matched)
		}
		said = append(said, fmt.Sprintf("%s %t %d %s", matched, v.Enabled, len(v.Fields), v.Reason))
	}
	require.Equal(t, []string{
		"true true 1 its event_types take it by a.*", "false true 1 its event_types take it by *", "false true 0 none of its event_types takes the type",
		"true false 0 its event_types take it by *.b", "nothing true 0 its event_types take it by *",
	}, said)
	require.Equal(t, "is not 2", x.Endpoints[1].Fields[0].Reason)
	require.Contains(t, x.Endpoints[4].Error, "does not compile here")
	_, err = p.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.endpoints (id, tenant, url, description, secret, event_types, headers, enabled, created_at, updated_at)
		SELECT gen_random_uuid(), 'default', 'https://example.com/', '', '', '{b}', '', true, now(), now() FROM generate_series(1, 96)`)
	require.NoError(t, err)
	x = p.explain(t, e.ID)
	require.Len(t, x.Endpoints, 100)
	require.True(t, x.MoreEndpoints)
}
