package events_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
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

// TestEveryWayToAnEndpointKeepsItsOrder makes jobs for an endpoint with an order in all
// ways: by subscription, by a rule's action, by an action with a key of its own, by POST
// /jobs, by SQL, and anew from the stored event.
func TestEveryWayToAnEndpointKeepsItsOrder(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	guard, err := outbound.NewGuard(nil, true)
	require.NoError(t, err)
	endpoints := &webhooks.Endpoints{DB: db, Box: sealed.Plain(), Guard: guard}
	registry := jobs.NewRegistry(webhooks.Kind(endpoints, outbound.NewClient(guard, "test")))
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: discard(), Fault: pg.Fault})
	cfg := intake.Config{KeyTTL: time.Hour, MaxWaiting: 500}
	acceptor, creator := events.NewAcceptor(db, cfg, registry, discard()), jobs.NewIntake(db, cfg)
	run(t, func(ctx context.Context) { acceptor.Run(ctx) })
	run(t, func(ctx context.Context) { creator.Run(ctx) })
	acceptor.Routes(api)
	endpoints.Routes(api)
	(&rules.API{DB: db, Kinds: registry}).Routes(api)
	(&jobs.API{DB: db, Kinds: registry, Intake: creator, KnownEndpoints: func(ctx context.Context, tenant string, ids []uuid.UUID) (map[uuid.UUID]func(*queue.NewJob), error) {
		return webhooks.KnownInOrder(ctx, db, tenant, ids)
	}}).Routes(api)
	h := contract.Handler(t, api)
	endpoint := contract.Decode[webhooks.Endpoint](t, contract.Send(h, http.MethodPost, "/endpoints", `{"url":"http://127.0.0.1:9/","event_types":["a"]}`), 201)
	id := endpoint.ID.String()
	require.Len(t, accept(t, h, `{"type":"a"}`).JobIDs, 1)
	patch := func(ordering string) {
		contract.Decode[webhooks.Endpoint](t, contract.Send(h, http.MethodPatch, "/endpoints/"+id, ordering), 200)
	}
	patch(`{"ordering":{"by":"endpoint","on_failure":"skip"}}`)
	rule := act(t, h, `{"kind":"webhook","endpoint_id":"`+id+`"}`, `{"kind":"webhook","endpoint_id":"`+id+`","ordering_key":"mine"}`,
		`{"kind":"webhook","endpoint_id":"`+id+`","ordering_key":"theirs","on_failure":"skip"}`)

	lines := func(ids ...uuid.UUID) []string {
		var all []string
		for _, id := range ids {
			job := jobOf(t, db, id)
			all = append(all, strings.TrimSpace(strings.ReplaceAll(job.OrderingKey, endpoint.ID.String(), "ID")+" "+job.OnFailure))
		}
		return all
	}
	e := accept(t, h, `{"type":"a","data":{"k":"x"}}`)
	require.Equal(t, []string{"endpoint/ID skip", "mine block", "theirs skip", "endpoint/ID skip"}, lines(e.JobIDs...), "a change holds from its answer on")
	again := func(through events.Through) []queue.NewJob {
		var made []queue.NewJob
		require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
			stored, err := events.GetStored(t.Context(), tx, e.ID)
			require.NoError(t, err)
			made, err = events.NewRerouter(registry, discard()).Jobs(t.Context(), tx, []events.Stored{stored}, through)
			return err
		}))
		return made
	}
	keys := func(made []queue.NewJob) []string {
		var all []string
		for _, j := range made {
			all = append(all, strings.ReplaceAll(j.OrderingKey, id, "ID"))
		}
		return all
	}
	require.Equal(t, []string{"endpoint/ID", "mine", "theirs", "endpoint/ID"}, keys(again(events.Through{})))
	require.Equal(t, []string{"endpoint/ID", "mine", "theirs"}, keys(again(events.Through{Tenant: "default", Rules: []uuid.UUID{rule.ID}})))

	post := func(more string) uuid.UUID {
		body := `{"kind":"webhook","payload":{"endpoint_id":"` + id + `","type":"a","data":{"k":"y"}}` + more + `}`
		return contract.Decode[jobs.Detailed](t, contract.Send(h, http.MethodPost, "/jobs", body), 201).ID
	}
	enqueue := func(more string) uuid.UUID {
		var made uuid.UUID
		require.NoError(t, db.GetContext(t.Context(), &made, `SELECT signalstack.enqueue('webhook', $1`+more+`)`, `{"endpoint_id":"`+id+`","type":"a","data":{"k":"y"}}`))
		return made
	}
	require.Equal(t, []string{"endpoint/ID skip", "own block", "endpoint/ID skip", "own block"},
		lines(post(""), post(`,"ordering_key":"own"`), enqueue(""), enqueue(`, ordering_key => 'own'`)))

	patch(`{"ordering":{"by":"<$.data.k>"}}`)
	require.Equal(t, []string{"endpoint/ID/y block", ""}, lines(post(""), enqueue("")), "SQL does not read the payload")
	require.Equal(t, []string{"endpoint/ID/x", "mine", "theirs", "endpoint/ID/x"}, keys(again(events.Through{})))
	patch(`{"reset":["ordering"]}`)
	require.Equal(t, []string{"", "mine block", "theirs skip", ""}, lines(accept(t, h, `{"type":"a","data":{"k":"x"}}`).JobIDs...))
	require.Equal(t, []string{"", ""}, lines(post(""), enqueue("")))
}
