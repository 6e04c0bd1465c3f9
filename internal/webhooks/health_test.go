package webhooks_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// scripted is a receiver whose answer can be changed.
type scripted struct {
	status atomic.Int64
	header atomic.Pointer[http.Header]
	url    string
}

func script(t *testing.T) *scripted {
	t.Helper()
	s := &scripted{}
	s.answer(http.StatusNoContent, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range *s.header.Load() {
			w.Header()[name] = values
		}
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *scripted) answer(status int, header http.Header) {
	if header == nil {
		header = http.Header{}
	}
	s.header.Store(&header)
	s.status.Store(int64(status))
}

// attempt makes one delivery to an endpoint.
func (b *bundle) attempt(t *testing.T, id uuid.UUID) error {
	t.Helper()
	_, err := b.kind.Run(t.Context(), b.job(id, "1"))
	return err
}

func (b *bundle) health(t *testing.T, id uuid.UUID) webhooks.EndpointHealth {
	t.Helper()
	return b.endpoint(t, http.StatusOK, http.MethodGet, "/endpoints/"+id.String(), "").Health
}

// announced gives the events of the system that were sent so far, oldest first.
func (b *bundle) announced(t *testing.T) (types []string, last map[string]any) {
	t.Helper()
	var rows []struct {
		Type string
		Data []byte
	}
	require.NoError(t, b.db.SelectContext(t.Context(), &rows, `SELECT type, data FROM signalstack.outbox WHERE source = 'urn:signalstack' ORDER BY event_id`))
	for _, r := range rows {
		types, last = append(types, r.Type), nil
		require.NoError(t, json.Unmarshal(r.Data, &last))
	}
	return types, last
}

func (b *bundle) create(t *testing.T, url, more string) webhooks.Endpoint {
	t.Helper()
	return b.endpoint(t, http.StatusCreated, http.MethodPost, "/endpoints", `{"url":"`+url+`"`+more+`}`)
}

// probe lets the time for which the breaker is open be over.
func (b *bundle) probe(t *testing.T) {
	t.Helper()
	_, err := b.db.ExecContext(t.Context(), `UPDATE signalstack.controls SET closed_until = now() - interval '1 second'`)
	require.NoError(t, err)
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	b, receiver := start(t), script(t)
	e := b.create(t, receiver.url, "")
	require.Equal(t, "healthy", e.Health.State)
	receiver.answer(http.StatusInternalServerError, nil)
	for n := range 5 {
		require.Equal(t, n, b.health(t, e.ID).Failures)
		require.Error(t, b.attempt(t, e.ID))
	}
	h := b.health(t, e.ID)
	require.Equal(t, "open", h.State)
	require.Contains(t, h.LastError, "500")
	first := time.Until(*h.RetryAt)
	require.InDelta(t, 10, first.Seconds(), 8)
	types, data := b.announced(t)
	require.Equal(t, []string{"endpoint.failing"}, types)
	require.Equal(t, e.ID.String(), data["endpoint_id"])
	require.Error(t, b.attempt(t, e.ID))
	require.Equal(t, h.RetryAt, b.health(t, e.ID).RetryAt, "those in flight change nothing of it")

	b.probe(t)
	require.Equal(t, "probing", b.health(t, e.ID).State)
	require.Error(t, b.attempt(t, e.ID))
	h = b.health(t, e.ID)
	require.Equal(t, "open", h.State)
	require.Greater(t, time.Until(*h.RetryAt), first+5*time.Second, "it waits longer each time")

	b.probe(t)
	receiver.answer(http.StatusNoContent, nil)
	require.NoError(t, b.attempt(t, e.ID))
	require.Equal(t, webhooks.EndpointHealth{State: "healthy"}, b.health(t, e.ID))
	types, _ = b.announced(t)
	require.Equal(t, []string{"endpoint.failing", "endpoint.recovered"}, types, "each is told once")
	control, err := queue.GetControl(t.Context(), b.db, queue.AnyQueue, queue.EndpointLane("default", e.ID))
	require.NoError(t, err)
	require.Nil(t, control.ClosedUntil)
}

func TestRefusedMessagesDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	b, receiver := start(t), script(t)
	e := b.create(t, receiver.url, "")
	receiver.answer(http.StatusBadRequest, nil)
	for range 8 {
		require.Error(t, b.attempt(t, e.ID))
	}
	require.Equal(t, "failing", b.health(t, e.ID).State)
	require.Equal(t, 8, b.health(t, e.ID).Failures)
	receiver.answer(http.StatusOK, nil)
	require.NoError(t, b.attempt(t, e.ID))
	require.Equal(t, "healthy", b.health(t, e.ID).State)
	types, _ := b.announced(t)
	require.Empty(t, types)
}

func TestOwnerIsWarnedAndTheEndpointDisabled(t *testing.T) {
	t.Parallel()
	b, receiver := start(t), script(t) // which disables after 100 h
	e := b.create(t, receiver.url, "")
	receiver.answer(http.StatusNotFound, nil)
	require.Error(t, b.attempt(t, e.ID))
	var percents []float64
	for _, hours := range []int{40, 51, 55, 71, 99} {
		_, err := b.db.ExecContext(t.Context(), `UPDATE signalstack.endpoint_health SET failing_since = now() - $1 * interval '1 hour'`, hours)
		require.NoError(t, err)
		require.Error(t, b.attempt(t, e.ID))
		if _, last := b.announced(t); last != nil {
			percents = append(percents, last["percent"].(float64))
		}
	}
	require.Equal(t, []float64{40, 51, 51, 71, 99}, percents)
	_, err := b.db.ExecContext(t.Context(), `UPDATE signalstack.endpoint_health SET failing_since = now() - interval '101 hours'`)
	require.NoError(t, err)
	require.Error(t, b.attempt(t, e.ID))
	shown := b.endpoint(t, http.StatusOK, http.MethodGet, "/endpoints/"+e.ID.String(), "")
	require.False(t, shown.Enabled)
	require.Contains(t, shown.DisabledReason, "404")
	require.NotNil(t, shown.DisabledAt)
	types, data := b.announced(t)
	require.Equal(t, []string{"endpoint.failing", "endpoint.failing", "endpoint.failing", "endpoint.failing", "endpoint.disabled"}, types)
	require.Equal(t, shown.DisabledReason, data["reason"])

	again := b.endpoint(t, http.StatusOK, http.MethodPost, "/endpoints/"+e.ID.String()+"/enable", "")
	require.True(t, again.Enabled)
	require.Empty(t, again.DisabledReason)
	require.Equal(t, webhooks.EndpointHealth{State: "healthy"}, again.Health)
}

func TestReceiverSaysWhenToComeAgain(t *testing.T) {
	t.Parallel()
	b, receiver := start(t), script(t)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		e := b.create(t, receiver.url, "")
		receiver.answer(status, http.Header{"Retry-After": {"1800"}})
		err := b.attempt(t, e.ID)
		require.Equal(t, 30*time.Minute, jobs.AskedDelay(err))
		h := b.health(t, e.ID)
		require.Equal(t, "open", h.State)
		require.InDelta(t, 1800, time.Until(*h.RetryAt).Seconds(), 60)
		require.Zero(t, h.Failures, "it is no failure")

		receiver.answer(http.StatusTooManyRequests, http.Header{"Retry-After": {"864000"}})
		require.Equal(t, time.Hour, jobs.AskedDelay(b.attempt(t, e.ID)), "a mistake does not silence it for days")
		b.probe(t)
		receiver.answer(http.StatusOK, nil)
		require.NoError(t, b.attempt(t, e.ID))
		require.Equal(t, "healthy", b.health(t, e.ID).State)
	}
	types, _ := b.announced(t)
	require.Empty(t, types)
}

func TestReceiverControlsItsDelivery(t *testing.T) {
	t.Parallel()
	b, receiver := start(t), script(t)
	e := b.create(t, receiver.url, "")
	receiver.answer(http.StatusBadRequest, http.Header{"Webhook-Delivery": {"abort-message"}})
	require.True(t, jobs.IsPermanent(b.attempt(t, e.ID)))
	require.True(t, b.endpoint(t, http.StatusOK, http.MethodGet, "/endpoints/"+e.ID.String(), "").Enabled)

	for answer, header := range map[int]http.Header{http.StatusGone: nil, http.StatusOK: {"Webhook-Delivery": {"disable"}}} {
		e := b.create(t, receiver.url, "")
		receiver.answer(answer, header)
		err := b.attempt(t, e.ID)
		require.Equal(t, answer == http.StatusGone, err != nil, "a message that was taken is delivered")
		shown := b.endpoint(t, http.StatusOK, http.MethodGet, "/endpoints/"+e.ID.String(), "")
		require.False(t, shown.Enabled)
		require.NotEmpty(t, shown.DisabledReason)
	}
	types, _ := b.announced(t)
	require.Equal(t, []string{"endpoint.disabled", "endpoint.disabled"}, types)
}

func TestGivingUpIsAnnouncedButNotOfAnnouncements(t *testing.T) {
	t.Parallel()
	b := start(t)
	job := b.job(uuid.New(), "1")
	require.NoError(t, b.kind.Failed(t.Context(), b.db, job, "the receiver answered 500"))
	types, data := b.announced(t)
	require.Equal(t, []string{"delivery.exhausted"}, types)
	require.Equal(t, job.ID.String(), data["job_id"])
	require.Equal(t, job.Event.ID.String(), data["event_id"])
	job.Event.Source = webhooks.SystemSource
	require.NoError(t, b.kind.Failed(t.Context(), b.db, job, "x"))
	types, _ = b.announced(t)
	require.Len(t, types, 1)
}

func TestLimitsOfAnEndpointAreThoseOfItsLane(t *testing.T) {
	t.Parallel()
	b := start(t)
	e := b.create(t, "https://example.com/", `,"max_in_flight":3,"rate_limit":{"count":10,"per":"1s"},"timeout":"20s","max_attempts":4,"max_age":"24h","retry":{"strategy":"ladder","ladder":["1s"]}`)
	path, lane := "/endpoints/"+e.ID.String(), queue.EndpointLane("default", e.ID)
	control := func() queue.Control {
		c, err := queue.GetControl(t.Context(), b.db, queue.AnyQueue, lane)
		require.NoError(t, err)
		return c
	}
	require.Equal(t, 3, *control().MaxRunning)
	require.Equal(t, 10, *control().Rate)
	require.NoError(t, queue.CloseLane(t.Context(), b.db, lane, time.Hour))
	changed := b.endpoint(t, http.StatusOK, http.MethodPatch, path, `{"max_in_flight":5,"reset":["rate_limit","retry"]}`)
	require.Equal(t, webhooks.Delivery{Timeout: "20s", MaxAttempts: 4, MaxAge: "24h", MaxInFlight: 5}, changed.Delivery)
	require.Equal(t, 5, *control().MaxRunning)
	require.Nil(t, control().Rate)
	require.NotNil(t, control().ClosedUntil, "the breaker is another matter")
	require.Equal(t, "open", changed.Health.State)
	for _, bad := range []string{
		`{"timeout":"0s"}`, `{"timeout":"2m"}`, `{"max_age":"1s"}`, `{"rate_limit":{"count":1,"per":"x"}}`, `{"retry":{"strategy":"no"}}`,
		`{"max_in_flight":0}`, `{"reset":["no"]}`, `{"timeout":"5s","reset":["timeout"]}`,
	} {
		require.Equal(t, http.StatusUnprocessableEntity, b.send(http.MethodPatch, path, bad).Code, bad)
	}
	require.Equal(t, http.StatusNoContent, b.send(http.MethodDelete, path, "").Code)
	require.Equal(t, queue.Control{Lane: lane, Weight: 1}, control())
}

func TestSlowReceiverTimesOutByItsEndpoint(t *testing.T) {
	t.Parallel()
	b := start(t)
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release); server.Close() })
	e := b.create(t, server.URL, `,"timeout":"1s"`)
	err := b.attempt(t, e.ID)
	require.ErrorIs(t, err, jobs.ErrTimeout)
	result, _ := b.kind.Run(t.Context(), b.job(e.ID, "1"))
	require.Equal(t, "timeout", result.Exchange.ErrorClass)
	require.Equal(t, 2, b.health(t, e.ID).Failures)
}

func TestFailuresAtOnceOpenTheBreakerOnce(t *testing.T) {
	t.Parallel()
	b, receiver := start(t), script(t)
	e := b.create(t, receiver.url, "")
	receiver.answer(http.StatusBadGateway, nil)
	failed := make(chan error, 20)
	for range cap(failed) {
		go func() {
			_, err := b.kind.Run(t.Context(), b.job(e.ID, "1"))
			failed <- err
		}()
	}
	for range cap(failed) {
		require.Error(t, <-failed)
	}
	var opened int
	require.NoError(t, b.db.GetContext(t.Context(), &opened, `SELECT opened FROM signalstack.endpoint_health`))
	require.Equal(t, 1, opened)
	types, _ := b.announced(t)
	require.Equal(t, []string{"endpoint.failing"}, types)
}
