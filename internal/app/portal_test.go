package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/keys"
	"github.com/signalstack/signalstack/internal/pgtest"
)

const testAdminKey = "the-admin-key-of-the-tests"

// process runs a whole process with keys on a database, and gives its URL.
func process(t *testing.T, dsn string, opt Options) string {
	t.Helper()
	cfg, err := config.Load(nil, map[string]string{
		"DATABASE_URL": dsn, "SIGNALSTACK_DIRECT_DATABASE_URL": pgtest.Direct(t, dsn), "SIGNALSTACK_ADDR": "127.0.0.1:0", "SIGNALSTACK_ADMIN_KEY": testAdminKey,
		"SIGNALSTACK_SECRET_KEY": base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32))), "SIGNALSTACK_SHUTDOWN_GRACE": "1s",
	})
	require.NoError(t, err)
	ready, ended := make(chan string, 1), make(chan error, 1)
	opt.Config, opt.Log, opt.Version, opt.Serve, opt.AllowLoopback = cfg, slog.New(slog.DiscardHandler), "test", true, true
	opt.Ready = func(url string) { ready <- url }
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { ended <- Run(ctx, opt) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	select {
	case url := <-ready:
		return url
	case err := <-ended:
		t.Fatal(err)
		return ""
	}
}

// caller sends requests to a process with a token.
type caller struct {
	url, token string
}

func (c caller) send(t *testing.T, method, path, body string) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewBufferString(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.StatusCode == http.StatusUnauthorized {
		require.Contains(t, resp.Header.Get("WWW-Authenticate"), "Bearer", path)
	}
	return resp.StatusCode, answer
}

// get gives a field of an answer that must have the status.
func (c caller) get(t *testing.T, want int, method, path, body, field string) string {
	t.Helper()
	status, answer := c.send(t, method, path, body)
	require.Equal(t, want, status, "%s %s %s: %s", method, path, body, answer)
	if field == "" {
		return ""
	}
	var fields map[string]any
	require.NoError(t, json.Unmarshal(answer, &fields))
	text, _ := fields[field].(string)
	require.NotEmpty(t, text, "%s of %s", field, answer)
	return text
}

// operation is one of the document.
type documented struct{ id, method, path string }

func operations(t *testing.T, c caller) []documented {
	t.Helper()
	status, raw := c.send(t, http.MethodGet, "/openapi.json", "")
	require.Equal(t, 200, status)
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(raw, &doc))
	var all []documented
	for path, methods := range doc.Paths {
		for method, op := range methods {
			all = append(all, documented{op.OperationID, strings.ToUpper(method), path})
		}
	}
	slices.SortFunc(all, func(a, b documented) int { return strings.Compare(a.id, b.id) })
	return all
}

// mayRun says who may run an operation: keys of scope r read, i ingest, w work and a
// admin for all tenants; u read and t admin for one; sessions in the portal, p to look
// and m to manage; * is everybody, without a key too. It is written beside accessTable
// and not made of it.
var mayRun = map[string]string{
	"health": "*", "livez": "*", "readyz": "*", "receive-webhook": "*",

	"send-events": "iat", "create-jobs": "iat",
	"claim-jobs": "wat", "extend-lease": "wat", "progress-lease": "wat", "complete-lease": "wat", "complete-leases": "wat",
	"fail-lease": "wat", "fail-leases": "wat", "snooze-lease": "wat",

	"list-events": "raut", "get-event": "raut", "list-rules": "raut", "get-rule": "raut", "test-rule": "raut",
	"list-sources": "raut", "get-source": "raut", "list-replays": "raut", "get-replay": "raut", "list-erasures": "raut", "get-erasure": "raut",
	"list-operations": "raut", "get-operation": "raut", "cancel-operation": "at", "retry-jobs": "at", "cancel-jobs": "at",
	"get-summary": "raut", "get-timeseries": "raut", "get-tenant": "raut",
	"list-schedules": "raut", "get-schedule": "raut", "list-schedule-fires": "raut", "preview-schedule": "raut",
	"create-schedule": "at", "update-schedule": "at", "delete-schedule": "at", "pause-schedule": "at", "resume-schedule": "at", "run-schedule": "at",
	"list-queues": "ra", "get-queue": "ra", "list-limits": "ra", "list-tenants": "ra",

	"list-jobs": "rautpm", "get-job": "rautpm", "list-attempts": "rautpm", "get-attempt": "rautpm",
	"list-endpoints": "rautpm", "get-endpoint": "rautpm", "list-event-types": "rautpm", "get-event-type": "rautpm",
	"create-endpoint": "atm", "update-endpoint": "atm", "delete-endpoint": "atm", "enable-endpoint": "atm", "rotate-endpoint-secret": "atm", "retry-job": "atm",
	"test-endpoint": "atm", "recover-endpoint": "atm",

	"cancel-job": "at", "update-job": "at", "create-rule": "at", "update-rule": "at", "delete-rule": "at",
	"create-event-type": "at", "add-event-type-version": "at", "update-event-type": "at", "delete-event-type": "at",
	"create-source": "at", "update-source": "at", "delete-source": "at",
	"replay-event": "at", "create-replay": "at", "cancel-replay": "at", "erase-event": "at", "erase-subject": "at",
	"create-key": "at", "list-keys": "at", "delete-key": "at", "create-portal-link": "at", "revoke-portal-links": "at",

	"update-queue": "a", "set-limit": "a", "set-tenant": "a",
}

// TestWhoMayRunWhat runs every operation as every kind of caller.
func TestWhoMayRunWhat(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	admin := caller{process(t, dsn, Options{}), testAdminKey}
	key := func(body string) string { return admin.get(t, 201, http.MethodPost, "/keys", body, "key") }
	link := func(permissions string) string {
		return admin.get(t, 201, http.MethodPost, "/portal/links", `{"tenant":"t1","permissions":"`+permissions+`"}`, "token")
	}
	expired := key(`{"scopes":["admin"],"name":"old"}`)
	db := pgtest.Open(t, dsn)
	_, err := db.Exec(`UPDATE signalstack.keys SET expires_at = now() - interval '1 second' WHERE name = 'old'`)
	require.NoError(t, err)
	known := map[string]string{
		"r": key(`{"scopes":["read"]}`), "i": key(`{"scopes":["ingest"]}`), "w": key(`{"scopes":["work"]}`), "a": key(`{"scopes":["admin"]}`),
		"u": key(`{"scopes":["read"],"tenant":"t1"}`), "t": key(`{"scopes":["admin"],"tenant":"t2"}`), "p": link("read"), "m": link("manage"),
	}
	unknown := map[string]string{"none": "", "bad": "ssk_" + strings.Repeat("A", 43), "nonsense": "x", "expired": expired}
	tenantOf := map[string]string{"t": "t2"}

	for _, op := range operations(t, admin) {
		may, listed := mayRun[op.id]
		if !listed {
			t.Errorf("%s %s: say in mayRun in internal/app/portal_test.go who may run %q", op.method, op.path, op.id)
			continue
		}
		run := func(who, token string) int {
			path := strings.NewReplacer("{tenant}", firstOf(tenantOf[who], "t1"), "{lease}", "1", "{name}", "default", "{type}", "x").Replace(op.path)
			for _, name := range []string{"{id}", "{job_id}"} {
				path = strings.ReplaceAll(path, name, uuid.Must(uuid.NewV7()).String())
			}
			body := ""
			if op.method != http.MethodGet && op.method != http.MethodDelete {
				body = "{}"
			}
			status, _ := caller{admin.url, token}.send(t, op.method, path, body)
			return status
		}
		for who, token := range unknown {
			status := run(who, token)
			require.Equal(t, may != "*", status == 401, "%s as %s: %d", op.id, who, status)
		}
		for who, token := range known {
			status := run(who, token)
			allowed := may == "*" || strings.Contains(may, who)
			require.NotEqual(t, 401, status, "%s as %s", op.id, who)
			require.Equal(t, !allowed, status == 403, "%s as %s: %d", op.id, who, status)
		}
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// estate is one thing of each sort that belongs to a tenant, by the first part of its
// path.
func estate(t *testing.T, admin caller, tenant, receiver string) map[string]string {
	t.Helper()
	made := func(status int, path, body, field string) string {
		return admin.get(t, status, http.MethodPost, path, strings.Replace(body, "{", `{"tenant":"`+tenant+`",`, 1), field)
	}
	things := map[string]string{}
	things["endpoints"] = made(201, "/endpoints", `{"url":"`+receiver+`"}`, "id")
	things["rules"] = made(201, "/rules", `{"name":"n","pattern":{"type":["x"]},"actions":[{"kind":"log","payload":{"message":"m"}}]}`, "id")
	things["sources"] = made(201, "/sources", `{"name":"n","kind":"github","secrets":[{"secret":"s"}]}`, "id")
	made(201, "/event-types", `{"type":"x.`+tenant+`","schema":{}}`, "")
	things["events"] = made(201, "/events", `{"type":"y","subject":"s"}`, "id")
	things["jobs"] = made(201, "/jobs", `{"kind":"webhook","payload":{"endpoint_id":"`+things["endpoints"]+`","type":"y","data":{}}}`, "id")
	things["log"] = made(201, "/jobs", `{"kind":"log","payload":{"message":"m"}}`, "id")
	things["replays"] = made(202, "/replays", `{"filter":{"type":"nothing"}}`, "id")
	things["operations"] = made(202, "/jobs/retry", `{"filter":{"kind":"nothing"}}`, "id")
	things["erasures"] = made(202, "/events/erase", `{"subject":"nobody"}`, "id")
	things["schedules"] = made(201, "/schedules", `{"every":"1h","action":{"event":{"type":"tick"}}}`, "id")
	things["keys"] = made(201, "/keys", `{"scopes":["read"]}`, "id")
	for _, job := range []string{things["jobs"], things["log"]} {
		require.Eventually(t, func() bool {
			_, answer := admin.send(t, http.MethodGet, "/jobs/"+job, "")
			return bytes.Contains(answer, []byte(`"state":"succeeded"`))
		}, 30*time.Second, 50*time.Millisecond)
	}
	return things
}

// nounOf names the sort of thing that the id in the path of an operation is of; "" when
// no id is in it.
func nounOf(op documented) string {
	first := strings.Split(op.path, "/")[1]
	switch {
	case first == "attempts" && strings.Contains(op.path, "{"):
		return "jobs"
	case strings.Contains(op.path, "{id}"):
		return first
	}
	return ""
}

// TestTenantsSeeNothingOfEachOther tries, as each sort of caller of one tenant, every
// operation on a thing of another one, and every list.
func TestTenantsSeeNothingOfEachOther(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer receiver.Close()
	admin := caller{process(t, pgtest.URL(t), Options{Work: true}), testAdminKey}
	mine, theirs := estate(t, admin, "t1", receiver.URL), estate(t, admin, "t2", receiver.URL)
	token := func(path, body, field string) caller {
		return caller{admin.url, admin.get(t, 201, http.MethodPost, path, body, field)}
	}
	callers := map[string]caller{
		"t": token("/keys", `{"scopes":["admin"],"tenant":"t1"}`, "key"),
		"m": token("/portal/links", `{"tenant":"t1","permissions":"manage"}`, "token"),
	}
	for who, c := range callers {
		for _, op := range operations(t, admin) {
			if may := mayRun[op.id]; may == "*" || !strings.Contains(may, who) {
				continue
			}
			path := strings.ReplaceAll(op.path, "{lease}", "1")
			if noun := nounOf(op); noun != "" {
				at := func(id string) string { return strings.NewReplacer("{id}", id, "{job_id}", id).Replace(path) }
				require.NotEmpty(t, theirs[noun], "%s %s: make one in estate", op.method, op.path)
				never := uuid.Must(uuid.NewV7()).String()
				status, answer := c.send(t, op.method, at(theirs[noun]), bodyFor(op))
				statusNever, answerNever := c.send(t, op.method, at(never), bodyFor(op))
				require.Equal(t, []int{404, 404}, []int{status, statusNever}, "%s as %s: %s", op.id, who, answer)
				require.Equal(t, essence(t, answerNever, never), essence(t, answer, theirs[noun]), op.id)
				if op.method == http.MethodGet {
					status, answer = c.send(t, op.method, at(mine[noun]), "")
					require.Equal(t, 200, status, "%s as %s: %s", op.id, who, answer)
				}
				continue
			}
			if op.method == http.MethodGet && !strings.Contains(op.path, "{") {
				checkList(t, c, op)
			}
		}
	}
	// Of its own jobs a tenant sees deliveries alone in the portal.
	m := callers["m"]
	m.get(t, 404, http.MethodGet, "/jobs/"+mine["log"], "", "")
	m.get(t, 404, http.MethodPost, "/jobs/"+mine["log"]+"/retry", "", "")
	m.get(t, 404, http.MethodGet, "/attempts/"+mine["log"]+"/1", "", "")
	m.get(t, 403, http.MethodGet, "/jobs?kind=log", "", "")
	m.get(t, 200, http.MethodPost, "/jobs/"+mine["jobs"]+"/retry", "", "")
	_, jobs := m.send(t, http.MethodGet, "/jobs", "")
	require.NotContains(t, string(jobs), mine["log"])
	require.Contains(t, string(jobs), mine["jobs"])
	// Nothing of the other tenant's was changed.
	for _, noun := range slices.Sorted(maps.Keys(theirs)) {
		if noun != "keys" && noun != "log" {
			admin.get(t, 200, http.MethodGet, "/"+noun+"/"+theirs[noun], "", "")
		}
	}
}

func bodyFor(op documented) string {
	if op.method == http.MethodGet || op.method == http.MethodDelete {
		return ""
	}
	return "{}"
}

// essence is an answer without what names its request and thing.
func essence(t *testing.T, answer []byte, id string) map[string]any {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(bytes.ReplaceAll(answer, []byte(id), []byte("ID")), &fields))
	delete(fields, "request_id")
	return fields
}

// checkList wants the rows of a list to be of tenant t1, and some of them.
func checkList(t *testing.T, c caller, op documented) {
	t.Helper()
	status, answer := c.send(t, op.method, op.path, "")
	require.Equal(t, 200, status, "%s: %s", op.id, answer)
	require.NotContains(t, string(answer), `"t2"`, op.id)
	status, _ = c.send(t, op.method, op.path+"?tenant=t2", "")
	require.Equal(t, 403, status, op.id)
	var list struct {
		Data []struct {
			Tenant string `json:"tenant"`
		} `json:"data"`
	}
	if !strings.HasPrefix(op.id, "list-") {
		return
	}
	require.NoError(t, json.Unmarshal(answer, &list), op.id)
	require.NotEmpty(t, list.Data, op.id)
	for _, row := range list.Data {
		require.Equal(t, "t1", row.Tenant, op.id)
	}
}

// TestABoundCallerActsForItsTenant names tenants in every way that there is.
func TestABoundCallerActsForItsTenant(t *testing.T) {
	t.Parallel()
	admin := caller{process(t, pgtest.URL(t), Options{}), testAdminKey}
	bound := caller{admin.url, admin.get(t, 201, http.MethodPost, "/keys", `{"scopes":["admin"],"tenant":"t1"}`, "key")}
	require.Equal(t, "t1", bound.get(t, 201, http.MethodPost, "/events", `{"type":"x"}`, "tenant"))
	bound.get(t, 403, http.MethodPost, "/events", `{"type":"x","tenant":"t2"}`, "code")
	bound.get(t, 201, http.MethodPost, "/events", `[{"type":"x"},{"type":"x","tenant":"t1"}]`, "")
	status, answer := bound.send(t, http.MethodPost, "/events", `[{"type":"x"},{"type":"x","tenant":"t2"}]`)
	require.Equal(t, 207, status, string(answer))
	require.Contains(t, string(answer), `"code":"other_tenant"`)
	bound.get(t, 403, http.MethodPost, "/events?atomic=true", `[{"type":"x","tenant":"t2"}]`, "code")
	require.Equal(t, "t1", bound.get(t, 201, http.MethodPost, "/jobs", `{"kind":"log","payload":{"message":"m"}}`, "tenant"))
	bound.get(t, 403, http.MethodPost, "/jobs", `{"kind":"log","payload":{"message":"m"},"tenant":"t2"}`, "code")
	bound.get(t, 403, http.MethodPost, "/jobs/retry", `{"filter":{"kind":"log"},"tenant":"*"}`, "code")
	bound.get(t, 200, http.MethodGet, "/tenants/t1", "", "tenant")
	bound.get(t, 403, http.MethodGet, "/tenants/t2", "", "code")
	// A worker of one tenant gets the jobs of that tenant.
	for _, tenant := range []string{"t2", "t1"} {
		admin.get(t, 201, http.MethodPost, "/jobs", `{"kind":"external","payload":{"n":1},"tenant":"`+tenant+`"}`, "id")
	}
	worker := caller{admin.url, admin.get(t, 201, http.MethodPost, "/keys", `{"scopes":["work"],"tenant":"t1"}`, "key")}
	worker.get(t, 403, http.MethodPost, "/jobs/claim", `{"worker":"w","tenant":"t2"}`, "code")
	status, answer = worker.send(t, http.MethodPost, "/jobs/claim", `{"worker":"w","max":10}`)
	require.Equal(t, 200, status, string(answer))
	require.Contains(t, string(answer), `"tenant":"t1"`)
	require.NotContains(t, string(answer), `"tenant":"t2"`)
	// Its keys and links are its tenant's too.
	require.Equal(t, "t1", bound.get(t, 201, http.MethodPost, "/keys", `{"scopes":["admin"]}`, "tenant"))
	bound.get(t, 403, http.MethodPost, "/keys", `{"scopes":["read"],"tenant":"t2"}`, "code")
	require.Equal(t, "t1", bound.get(t, 201, http.MethodPost, "/portal/links", `{}`, "tenant"))
	// Things of others cannot be named in what is its own.
	endpoint := admin.get(t, 201, http.MethodPost, "/endpoints", `{"tenant":"t2","url":"https://example.com/"}`, "id")
	bound.get(t, 422, http.MethodPost, "/jobs", `{"kind":"webhook","payload":{"endpoint_id":"`+endpoint+`","type":"y","data":{}}}`, "code")
	bound.get(t, 422, http.MethodPost, "/rules", `{"name":"n","pattern":{"type":["x"]},"actions":[{"kind":"webhook","endpoint_id":"`+endpoint+`"}]}`, "code")
	bound.get(t, 422, http.MethodPost, "/replays", `{"filter":{"type":"x"},"endpoints":["`+endpoint+`"]}`, "code")

	for _, ce := range []struct{ header, body string }{
		{"t2", ""}, {"", `{"specversion":"1.0","id":"1","source":"s","type":"x","tenant":"t2"}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, admin.url+"/events", strings.NewReader(ce.body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+bound.token)
		if req.Header.Set("Content-Type", "application/cloudevents+json"); ce.header != "" {
			req.Header.Set("Content-Type", "text/plain")
			for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "x", "ce-tenant": ce.header} {
				req.Header.Set(name, value)
			}
		}
		resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 403, resp.StatusCode, ce)
	}
}

// TestThePortalManagesEndpointsWithinTheBoundsOfTheOperator goes through the life of an
// endpoint.
func TestThePortalManagesEndpointsWithinTheBoundsOfTheOperator(t *testing.T) {
	t.Parallel()
	admin := caller{process(t, pgtest.URL(t), Options{}), testAdminKey}
	visitor := caller{admin.url, admin.get(t, 201, http.MethodPost, "/portal/links", `{"tenant":"t1","permissions":"manage"}`, "token")}
	id := visitor.get(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","event_types":["a.*"]}`, "id")
	path := "/endpoints/" + id
	admin.get(t, 200, http.MethodPatch, path, `{"max_in_flight":1,"rate_limit":{"count":1,"per":"1s"}}`, "")
	for _, body := range []string{
		`{"max_in_flight":100}`, `{"reset":["max_in_flight"]}`, `{"rate_limit":{"count":1000,"per":"1s"}}`, `{"timeout":"60s"}`, `{"max_attempts":1000}`, `{"retry":{}}`, `{"max_age":"1h"}`,
	} {
		require.Equal(t, "operator_field", visitor.get(t, 403, http.MethodPatch, path, body, "code"), body)
		require.Equal(t, "operator_field", visitor.get(t, 403, http.MethodPost, "/endpoints", `{"url":"https://example.com/",`+body[1:], "code"), body)
	}
	visitor.get(t, 200, http.MethodPatch, path, `{"url":"https://example.com/2","enabled":false}`, "")
	visitor.get(t, 200, http.MethodPost, path+"/enable", "", "")
	visitor.get(t, 200, http.MethodPost, path+"/secret/rotate", `{}`, "secret")
	_, shown := visitor.send(t, http.MethodGet, path, "")
	require.Contains(t, string(shown), `"max_in_flight":1`)
	require.NotContains(t, string(shown), `"secret"`)
	visitor.get(t, 204, http.MethodDelete, path, "", "")
	visitor.get(t, 404, http.MethodGet, path, "", "code")
}

// TestWhatIsRevokedEndsInTheOtherProcess asks one process, and then the other.
func TestWhatIsRevokedEndsInTheOtherProcess(t *testing.T) {
	t.Parallel()
	dsn := pgtest.URL(t)
	here := caller{process(t, dsn, Options{}), testAdminKey}
	there := process(t, dsn, Options{})
	var key keys.Key
	status, answer := here.send(t, http.MethodPost, "/keys", `{"scopes":["read"]}`)
	require.Equal(t, 201, status)
	require.NoError(t, json.Unmarshal(answer, &key))
	link := here.get(t, 201, http.MethodPost, "/portal/links", `{"tenant":"t1"}`, "token")
	holder, visitor := caller{there, key.Key}, caller{there, link}
	holder.get(t, 200, http.MethodGet, "/jobs", "", "")
	visitor.get(t, 200, http.MethodGet, "/jobs", "", "")
	here.get(t, 204, http.MethodDelete, "/keys/"+key.ID.String(), "", "")
	here.get(t, 200, http.MethodPost, "/portal/revoke", `{"tenant":"t1"}`, "")
	for _, c := range []caller{holder, visitor} {
		caller{here.url, c.token}.get(t, 401, http.MethodGet, "/jobs", "", "code")
		require.Eventually(t, func() bool {
			status, _ := c.send(t, http.MethodGet, "/jobs", "")
			return status == 401
		}, 20*time.Second, 10*time.Millisecond)
	}
}
