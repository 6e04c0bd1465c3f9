package webhooks_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/sealed"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// bundle is the HTTP face of endpoints with the kind that delivers to them.
type bundle struct {
	db        *pg.DB
	endpoints *webhooks.Endpoints
	handler   http.Handler
	bare      http.Handler // the same, not held against its document, which takes long
	kind      jobs.Kind
}

func start(t *testing.T) *bundle {
	t.Helper()
	return startWith(t, true)
}

// startWith is start for what a guard allows.
func startWith(t *testing.T, loopback bool, allow ...string) *bundle {
	t.Helper()
	guard, err := outbound.NewGuard(allow, loopback)
	require.NoError(t, err)
	box, err := sealed.New(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	require.NoError(t, err)
	b := &bundle{db: pgtest.New(t)}
	b.endpoints = &webhooks.Endpoints{DB: b.db, Box: box, Guard: guard, Client: outbound.NewClient(guard, "test"), Log: slog.New(slog.DiscardHandler), DisableAfter: 100 * time.Hour}
	b.kind = webhooks.Kind(b.endpoints, outbound.NewClient(guard, "test"))
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	b.endpoints.Routes(api)
	b.handler, b.bare = contract.Handler(t, api), api.Handler()
	return b
}

func (b *bundle) send(method, path, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	b.handler.ServeHTTP(rec, req)
	return rec
}

func (b *bundle) endpoint(t *testing.T, status int, method, path, body string) webhooks.Endpoint {
	t.Helper()
	rec := b.send(method, path, body)
	require.Equal(t, status, rec.Code, rec.Body)
	var e webhooks.Endpoint
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &e))
	return e
}

// delivery is one request as a receiver saw it.
type delivery struct {
	header http.Header
	body   []byte
}

// receiver answers with a status and keeps what came.
func receiver(t *testing.T, status int) (url string, got *[]delivery) {
	t.Helper()
	got = &[]delivery{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*got = append(*got, delivery{header: r.Header, body: body})
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hooks", got
}

func (b *bundle) job(endpoint uuid.UUID, data string) jobs.Job {
	return jobs.Job{
		ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: webhooks.KindName, Attempt: 1,
		EndpointID: uuid.NullUUID{UUID: endpoint, Valid: true},
		Event:      &jobs.Event{ID: uuid.New(), Type: `a"<b>&`, Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Data: json.RawMessage(data)},
	}
}

func TestDeliveryIsSignedAndCarriesTheDataUnchanged(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusNoContent)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`","headers":{"Authorization":"Bearer hunter2"}}`)
	data := `{"z":1,"a":9007199254740993,"z":1e400,"n":"\u0000<&>"}`
	job := b.job(e.ID, data)
	var timestamps []string
	for range 2 { // two attempts
		result, err := b.kind.Run(t.Context(), job)
		require.NoError(t, err)
		require.Equal(t, 204, result.Exchange.Status)
		require.Equal(t, "****", result.Exchange.RequestHeaders["Authorization"])
		require.NotContains(t, result.Exchange.RequestHeaders["Webhook-Signature"], "v1,")
	}
	require.Len(t, *got, 2)
	verifier, err := standardwebhooks.NewWebhook(e.Secret)
	require.NoError(t, err)
	for _, d := range *got {
		require.NoError(t, verifier.Verify(d.body, d.header))
		require.Equal(t, job.ID.String(), d.header.Get("webhook-id"))
		require.Equal(t, "application/json", d.header.Get("Content-Type"))
		require.Equal(t, "Bearer hunter2", d.header.Get("Authorization"))
		require.Equal(t, `{"type":"a\"<b>&","timestamp":"2026-01-02T03:04:05.000006Z","data":`+data+`}`, string(d.body))
		timestamps = append(timestamps, d.header.Get("webhook-timestamp"))
	}
	require.Regexp(t, `^\d{10}$`, timestamps[0])
}

// TestBodyThatARuleMadeIsDeliveredAsItIs has a payload beside the event.
func TestBodyThatARuleMadeIsDeliveredAsItIs(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusNoContent)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`"}`)
	job := b.job(e.ID, `{"secret":1}`)
	job.Payload = json.RawMessage(`{"text": "Order 1", "n":9007199254740993}`)
	_, err := b.kind.Run(t.Context(), job)
	require.NoError(t, err)
	require.Equal(t, string(job.Payload), string((*got)[0].body))
	verifier, err := standardwebhooks.NewWebhook(e.Secret)
	require.NoError(t, err)
	require.NoError(t, verifier.Verify((*got)[0].body, (*got)[0].header))
}

// TestSignatureIsThatOfTheSpecification uses the known answer of the Standard
// Webhooks specification.
func TestSignatureIsThatOfTheSpecification(t *testing.T) {
	t.Parallel()
	header := webhooks.SignedHeader(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek",
		time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", header.Get("webhook-signature"))
	require.Equal(t, "1614265330", header.Get("webhook-timestamp"))
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	b := start(t)
	for status, permanent := range map[int]bool{302: false, 400: false, 404: false, 410: true, 429: false, 500: false} {
		url, got := receiver(t, status)
		e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`"}`)
		result, err := b.kind.Run(t.Context(), b.job(e.ID, "1"))
		require.Error(t, err)
		require.Equal(t, permanent, jobs.IsPermanent(err), status)
		require.Equal(t, status, result.Exchange.Status)
		require.Len(t, *got, 1)
	}
}

func TestNoDeliveryWithoutAnEndpointThatIsThereAndTheTenantsOwn(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, 200)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`","enabled":false}`)
	others := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`","tenant":"acme"}`)
	for id, text := range map[uuid.UUID]string{e.ID: "disabled", others.ID: "no endpoint", uuid.New(): "no endpoint"} {
		_, err := b.kind.Run(t.Context(), b.job(id, "1"))
		require.True(t, jobs.IsPermanent(err))
		require.ErrorContains(t, err, text)
	}
	require.Empty(t, *got)
	b.endpoint(t, 200, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"enabled":true}`)
	_, err := b.kind.Run(t.Context(), b.job(e.ID, ""))
	require.NoError(t, err, "a change holds from the next attempt on")
	require.Contains(t, string((*got)[0].body), `"data":null}`)
}

func TestJobWithoutAnEventDeliversItsPayload(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, 200)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`"}`)
	payload := json.RawMessage(`{"endpoint_id":"` + e.ID.String() + `","type":"ping","data":{"b":1,"a":1.0}}`)
	require.Empty(t, b.kind.Check(payload, jobs.Later{}))
	job := b.job(e.ID, "")
	job.Event, job.Payload, job.CreatedAt = nil, payload, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := b.kind.Run(t.Context(), job)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string((*got)[0].body), `"data":{"b":1,"a":1.0}}`))
	require.JSONEq(t, `{"type":"ping","timestamp":"2026-01-01T00:00:00Z","data":{"b":1,"a":1}}`, string((*got)[0].body))
	require.Equal(t, e.ID, b.kind.Endpoint(payload).UUID)
	for bad, pointers := range map[string][]string{
		``: {"/endpoint_id", "/type"}, `7`: {""}, `{"endpoint_id":"x","type":"a"}`: {"/endpoint_id"},
		`{"endpoint_id":"` + e.ID.String() + `","type":"","more":1}`: {"/type", "/more"},
	} {
		var found []string
		for _, m := range b.kind.Check(json.RawMessage(bad), jobs.Later{}) {
			found = append(found, m.Pointer)
		}
		require.ElementsMatch(t, pointers, found, bad)
	}
}

func TestSecretsAreShownOnceAndSealedAtRest(t *testing.T) {
	t.Parallel()
	b := start(t)
	given := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 24)))
	made := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/"}`)
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, made.Secret)
	own := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","secret":"`+given+`","headers":{"X-Key":"hunter2"}}`)
	require.Equal(t, given, own.Secret)
	require.Equal(t, map[string]string{"X-Key": "****"}, own.Headers)
	for _, path := range []string{"/endpoints", "/endpoints/" + made.ID.String(), "/endpoints/" + own.ID.String()} {
		answer := b.send(http.MethodGet, path, "").Body.String()
		require.NotContains(t, answer, "whsec_")
		require.NotContains(t, answer, "hunter2")
	}
	var stored []string
	require.NoError(t, b.db.SelectContext(t.Context(), &stored, `SELECT encode(secret, 'escape') || encode(headers, 'escape') FROM signalstack.endpoints`))
	require.NotContains(t, strings.Join(stored, ""), "whsec_")
	require.NotContains(t, strings.Join(stored, ""), "hunter2")
}

func TestWrongKeyIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	b := start(t)
	require.NoError(t, b.endpoints.CheckKey(t.Context()), "there is nothing to open yet")
	b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/"}`)
	require.NoError(t, b.endpoints.CheckKey(t.Context()))
	other, err := sealed.New(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	require.NoError(t, err)
	for _, box := range []*sealed.Box{other, sealed.Plain()} {
		wrong := &webhooks.Endpoints{DB: b.db, Box: box, Guard: b.endpoints.Guard}
		require.ErrorContains(t, wrong.CheckKey(t.Context()), "SIGNALSTACK_SECRET_KEY")
	}
}

func TestHeadersAreReplacedOrKept(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, 200)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`","headers":{"X-Keep":"one","X-Drop":"two"}}`)
	path := "/endpoints/" + e.ID.String()
	b.endpoint(t, 200, http.MethodPatch, path, `{"headers":{"X-Keep":"****","X-New":"three"}}`)
	_, err := b.kind.Run(t.Context(), b.job(e.ID, "1"))
	require.NoError(t, err)
	sent := (*got)[0].header
	require.Equal(t, []string{"one", "", "three"}, []string{sent.Get("X-Keep"), sent.Get("X-Drop"), sent.Get("X-New")})
	require.Equal(t, 422, b.send(http.MethodPatch, path, `{"headers":{"X-Other":"****"}}`).Code)
	require.Equal(t, 422, b.send(http.MethodPost, "/endpoints", `{"url":"https://a.b/","headers":{"X-Other":"****"}}`).Code)
}

func TestBadEndpointsAreRefusedWithEveryMistake(t *testing.T) {
	t.Parallel()
	b := start(t)
	for body, pointers := range map[string][]string{
		`{}`: {"/url"}, `{"url":""}`: {"/url"}, `{"url":7}`: {"/url"}, `{"url":"ftp://x.y/"}`: {"/url"}, `{"url":"http://10.0.0.1/"}`: {"/url"},
		`{"url":"https://u:p@x.y/"}`:                                   {"/url"},
		`{"url":"https://x.y/","secret":"short"}`:                      {"/secret"},
		`{"url":"https://x.y/","secret":"whsec_c2hvcnQ="}`:             {"/secret"},
		`{"url":"https://x.y/","event_types":["","*","a.*","a**b",7]}`: {"/event_types/0", "/event_types/3", "/event_types/4"},
		`{"url":"https://x.y/","headers":{"Host":"a","X-A":"b\r\nc"}}`: {"/headers/Host", "/headers/X-A"},
		`{"url":"https://x.y/","tenant":"a b","nope":1}`:               {"/tenant", "/nope"},
		`{"url":"https://x.y:99999/","secret":"short","nope":1}`:       {"/url", "/secret", "/nope"},
		`{"url":"https://x.y/","enabled":"yes"}`:                       {"/enabled"},
	} {
		rec := b.send(http.MethodPost, "/endpoints", body)
		require.Equal(t, 422, rec.Code, "%s: %s", body, rec.Body)
		var p httpapi.Problem
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		var found []string
		for _, e := range p.Errors {
			found = append(found, e.Pointer)
		}
		require.ElementsMatch(t, pointers, found, "%s: %s", body, rec.Body)
	}
	list := b.send(http.MethodGet, "/endpoints", "")
	require.JSONEq(t, `{"data":[]}`, list.Body.String())
}

func TestEndpointsCanBeListedChangedAndDeleted(t *testing.T) {
	t.Parallel()
	b := start(t)
	var ids []string
	for range 3 {
		ids = append(ids, b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/"}`).ID.String())
	}
	var page httpapi.Page[webhooks.Endpoint]
	require.NoError(t, json.Unmarshal(b.send(http.MethodGet, "/endpoints?limit=2", "").Body.Bytes(), &page))
	require.Len(t, page.Data, 2)
	require.NoError(t, json.Unmarshal(b.send(http.MethodGet, "/endpoints?limit=2&cursor="+page.NextCursor, "").Body.Bytes(), &page))
	require.Equal(t, ids[2], page.Data[0].ID.String())
	path := "/endpoints/" + ids[0]
	changed := b.endpoint(t, 200, http.MethodPatch, path, `{"url":"https://example.org/","description":"d","event_types":["a.*"],"enabled":false}`)
	require.Equal(t, "https://example.org/", changed.URL)
	require.Equal(t, []string{"a.*"}, changed.EventTypes)
	require.False(t, changed.Enabled)
	require.Empty(t, changed.Secret)
	require.Equal(t, 422, b.send(http.MethodPatch, path, `{"url":"http://10.0.0.1/"}`).Code)
	for _, field := range []string{"url", "description", "secret", "event_types", "pattern", "transform", "headers", "enabled"} {
		rec := b.send(http.MethodPatch, path, `{"`+field+`":null}`)
		require.Equal(t, 422, rec.Code, "%s: %s", field, rec.Body)
		require.Contains(t, rec.Body.String(), `"pointer":"/`+field+`"`)
	}
	together := b.send(http.MethodPatch, path, `{"url":"http://10.0.0.1/","headers":{"X-New":"****"},"enabled":7}`).Body.String()
	for _, pointer := range []string{"/url", "/headers/X-New", "/enabled"} {
		require.Contains(t, together, `"pointer":"`+pointer+`"`)
	}
	require.Equal(t, 204, b.send(http.MethodDelete, path, "").Code)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		require.Equal(t, 404, b.send(method, path, "").Code)
	}
	require.Equal(t, 404, b.send(http.MethodPatch, path, `{"enabled":true}`).Code)
	for _, bad := range []string{"/endpoints/7", "/endpoints?tenant=%00", "/endpoints?tenant=%ff", "/endpoints?tenant=nosuch;x"} {
		require.Equal(t, 422, b.send(http.MethodGet, bad, "").Code, bad)
	}
}

func TestSecretsAreBroughtUnderANewKey(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, _ := receiver(t, http.StatusNoContent)
	first := b.endpoint(t, http.StatusCreated, http.MethodPost, "/endpoints", `{"url":"`+url+`","headers":{"X-Token":"hunter2"}}`)
	damaged := b.endpoint(t, http.StatusCreated, http.MethodPost, "/endpoints", `{"url":"`+url+`"}`)
	_, err := b.db.ExecContext(t.Context(), `UPDATE signalstack.endpoints SET secret = substring(secret FOR 20) WHERE id = $1`, damaged.ID)
	require.NoError(t, err)

	old := base64.StdEncoding.EncodeToString(make([]byte, 32))
	fresh := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	b.endpoints.Box, err = sealed.New(fresh + "," + old)
	require.NoError(t, err)
	n, err := b.endpoints.Reseal(t.Context())
	require.ErrorContains(t, err, damaged.ID.String(), "what no key opens is named")
	require.Equal(t, 1, n, "and holds up no other")

	b.endpoints.Box, err = sealed.New(fresh)
	require.NoError(t, err)
	shown := b.endpoint(t, http.StatusOK, http.MethodGet, "/endpoints/"+first.ID.String(), "")
	require.Equal(t, map[string]string{"X-Token": "****"}, shown.Headers)
	n, err = b.endpoints.Reseal(t.Context())
	require.Error(t, err)
	require.Zero(t, n, "nothing is sealed twice")
}

// TestFormatIsChosenAndChanged goes through the API, and delivers in each format.
func TestFormatIsChosenAndChanged(t *testing.T) {
	t.Parallel()
	b := start(t)
	url, got := receiver(t, http.StatusOK)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"`+url+`","headers":{"Ce-Type":"mine","Ce-Static":"1"}}`)
	require.Equal(t, "standard", e.Format)
	job := b.job(e.ID, `{"a": 1}`)
	job.Event.CloudEvent.Extensions = json.RawMessage(`{"n":1,"s":"é"}`)
	for _, c := range []struct{ format, contentType, body, ceType string }{
		{"cloudevents-binary", "application/json", `{"a": 1}`, "a%22<b>&"},
		{
			"cloudevents-structured", "application/cloudevents+json; charset=utf-8", `{"specversion":"1.0","id":"` + job.Event.ID.String() +
				`","source":"urn:signalstack:default","type":"a\"<b>&","time":"2026-01-02T03:04:05.000006Z","datacontenttype":"application/json","n":1,"s":"é","data":{"a": 1}}`, "mine",
		},
		{"standard", "application/json", `{"type":"a\"<b>&","timestamp":"2026-01-02T03:04:05.000006Z","data":{"a": 1}}`, "mine"},
	} {
		changed := b.endpoint(t, 200, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"format":"`+c.format+`"}`)
		require.Equal(t, c.format, changed.Format)
		require.Equal(t, c.format, b.endpoint(t, 200, http.MethodGet, "/endpoints/"+e.ID.String(), "").Format)
		_, err := b.kind.Run(t.Context(), job)
		require.NoError(t, err)
		d := (*got)[len(*got)-1]
		require.Equal(t, c.contentType, d.header.Get("Content-Type"))
		require.Equal(t, c.body, string(d.body))
		require.Equal(t, c.ceType, d.header.Get("Ce-Type"), "an attribute stands above a header of the endpoint")
		require.Equal(t, "1", d.header.Get("Ce-Static"))
		verifier, err := standardwebhooks.NewWebhook(e.Secret)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(d.body, d.header))
	}
	// A job that no event made is a CloudEvent too.
	b.endpoint(t, 200, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"format":"cloudevents-binary"}`)
	job.Event, job.Payload = nil, json.RawMessage(`{"endpoint_id":"`+e.ID.String()+`","type":"t"}`)
	_, err := b.kind.Run(t.Context(), job)
	require.NoError(t, err)
	d := (*got)[len(*got)-1]
	require.Equal(t, job.ID.String(), d.header.Get("Ce-Id"))
	require.Empty(t, d.body)
	rec := b.send(http.MethodPatch, "/endpoints/"+e.ID.String(), `{"format":"xml"}`)
	require.Equal(t, 422, rec.Code, rec.Body)
}

func TestMistakesOfABatchAreNamed(t *testing.T) {
	t.Parallel()
	b := start(t)
	for body, pointer := range map[string]string{
		`{"url":"http://127.0.0.1/","batch":{"max_events":1,"max_wait":"5s"}}`:                                "/batch/max_events",
		`{"url":"http://127.0.0.1/","batch":{"max_events":101,"max_wait":"5s"}}`:                              "/batch/max_events",
		`{"url":"http://127.0.0.1/","batch":{"max_events":10}}`:                                               "/batch/max_wait",
		`{"url":"http://127.0.0.1/","batch":{"max_events":10,"max_wait":""}}`:                                 "/batch/max_wait",
		`{"url":"http://127.0.0.1/","batch":{"max_events":10,"max_wait":"1ms"}}`:                              "/batch/max_wait",
		`{"url":"http://127.0.0.1/","batch":{"max_events":10,"max_wait":"2h"}}`:                               "/batch/max_wait",
		`{"url":"http://127.0.0.1/","batch":{"max_wait":"2s"}}`:                                               "/batch/max_events",
		`{"url":"http://127.0.0.1/","format":"cloudevents-binary","batch":{"max_events":10,"max_wait":"5s"}}`: "/batch",
		`{"url":"http://127.0.0.1/","batch":{"max_events":10,"max_wait":"5s"},"reset":["batch"]}`:             "",
	} {
		rec := b.send(http.MethodPost, "/endpoints", body)
		require.Equal(t, 422, rec.Code, body)
		require.Contains(t, rec.Body.String(), `"pointer":"`+pointer, body)
	}
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"http://127.0.0.1/","batch":{"max_events":10,"max_wait":"5s"}}`)
	require.Equal(t, &webhooks.Batch{MaxEvents: 10, MaxWait: "5s"}, e.Batch)
	require.Equal(t, 422, b.send(http.MethodPatch, "/endpoints/"+e.ID.String(), `{"format":"cloudevents-binary"}`).Code)
	e = b.endpoint(t, 200, http.MethodPatch, "/endpoints/"+e.ID.String(), `{"format":"cloudevents-binary","reset":["batch"]}`)
	require.Nil(t, e.Batch)
}
