package sources_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/sources"
)

func macOf(key, text string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func hexOf(key, text string) string { return hex.EncodeToString(macOf(key, text)) }

// github gives the event of a payload that is signed as GitHub signs.
func github(t *testing.T, event, body string) events.NewEvent {
	t.Helper()
	h := headers("X-Hub-Signature-256", "sha256="+hexOf("k", body), "X-GitHub-Event", event, "X-GitHub-Delivery", "d-1")
	e, why := sources.EventOf(kind("github"), "k", time.Unix(0, 0), h, []byte(body))
	require.Empty(t, why, event)
	require.Equal(t, "d-1", *e.ID)
	require.Equal(t, body, string(e.Data))
	return e
}

// TestGitHubIsMappedAsTheAdapterHasIt goes through the page of the CloudEvents
// adapter, section by section: event, payload, type, source, subject, time.
func TestGitHubIsMappedAsTheAdapterHasIt(t *testing.T) {
	t.Parallel()
	const (
		one, two = "2026-01-02T03:04:05Z", "2026-02-02T03:04:05Z"
		repo     = `"repository":{"url":"R","name":"N","owner":{"url":"O"},"updated_at":"` + one + `"}`
		at       = `"updated_at":"` + one + `"`
	)
	for _, c := range [][6]string{
		{"check_run", `{"action":"a",` + repo + `,"check_run":{"id":128620228,"started_at":"` + one + `","completed_at":null}}`, "check_run.a", "R", "128620228", one},
		{"check_run", `{"action":"a",` + repo + `,"check_run":{"id":1,"started_at":"` + one + `","completed_at":"` + two + `"}}`, "check_run.a", "R", "1", two},
		{"check_suite", `{"action":"a",` + repo + `,"check_suite":{"id":9007199254740993,` + at + `}}`, "check_suite.a", "R", "9007199254740993", one},
		{"commit_comment", `{"action":"a",` + repo + `,"comment":{"id":1,"url":"C","commit_id":"sha",` + at + `}}`, "commit_comment.a", "C/sha", "1", one},
		{"content_reference", `{"action":"a",` + repo + `,"content_reference":{"id":1}}`, "content_reference.a", "R", "1", ""},
		{"create", `{"ref":"v1","ref_type":"tag",` + repo + `}`, "create.tag", "R", "v1", ""},
		{"delete", `{"ref":"b","ref_type":"branch",` + repo + `}`, "delete.branch", "R", "b", ""},
		{"deploy_key", `{"action":"a",` + repo + `,"key":{"id":1,"created_at":"` + one + `","deleted_at":null}}`, "deploy_key.a", "R", "1", one},
		{"deployment", `{"action":"created",` + repo + `,"deployment":{"id":1,` + at + `}}`, "deployment", "R", "1", one},
		{"deployment_status", `{"action":"created",` + repo + `,"deployment":{"url":"D"},"deployment_status":{"state":"failure","url":"S",` + at + `}}`, "deployment_status.failure", "D", "S", one},
		{"fork", `{` + repo + `,"forkee":{"url":"F","created_at":"` + one + `"}}`, "fork", "R", "F", one},
		{"github_app_authorization", `{"action":"revoked","sender":{"url":"S"}}`, "github_app_authorization", "S", "", ""},
		{"gollum", `{` + repo + `}`, "gollum", "R", "", ""},
		{"installation", `{"action":"a","installation":{"id":1,"account":{"url":"A"},"updated_at":1557933591}}`, "installation.a", "A", "1", "2019-05-15T15:19:51Z"},
		{"installation_repositories", `{"action":"a","installation":{"id":1,"account":{"url":"A"},` + at + `}}`, "installation_repository.a", "A", "1", one},
		{"issue_comment", `{"action":"a",` + repo + `,"issue":{"url":"I"},"comment":{"id":1,` + at + `}}`, "issue_comment.a", "I", "1", one},
		{"issues", `{"action":"a",` + repo + `,"issue":{"number":7,` + at + `}}`, "issue.a", "R", "7", one},
		{"label", `{"action":"a",` + repo + `,"label":{"name":"bug"}}`, "label.a", "R", "bug", ""},
		{"marketplace_purchase", `{"action":"a","effective_date":"` + one + `","sender":{"url":"https://api.github.com/users/me"},"marketplace_purchase":{"account":{"login":"L"}}}`, "marketplace_purchase.a", "https://api.github.com/users", "L", one},
		{"member", `{"action":"a",` + repo + `,"member":{"login":"L"}}`, "member.a", "R", "L", ""},
		{"membership", `{"action":"a","scope":"team","team":{"url":"T"},"member":{"login":"L"}}`, "membership.team.a", "T", "L", ""},
		{"meta", `{"action":"a",` + repo + `,"hook_id":5,"hook":{` + at + `}}`, "meta.a", "R", "5", one},
		{"milestone", `{"action":"a",` + repo + `,"milestone":{"number":3,` + at + `}}`, "milestone.a", "R", "3", one},
		{"organization", `{"action":"a","organization":{"url":"G"},"membership":{"user":{"login":"L"}}}`, "organization.a", "G", "L", ""},
		{"organization", `{"action":"a","organization":{"url":"G"}}`, "organization.a", "G", "", ""},
		{"org_block", `{"action":"a","organization":{"url":"G"},"blocked_user":{"login":"L"}}`, "org_block.a", "G", "L", ""},
		{"page_build", `{` + repo + `,"build":{"url":"B"},"pusher":{` + at + `}}`, "page_build", "R", "B", one},
		{"project_card", `{"action":"a",` + repo + `,"project_card":{"id":1,` + at + `}}`, "project_card.a", "R", "1", one},
		{"project_column", `{"action":"a",` + repo + `,"project_column":{"id":1,` + at + `}}`, "project_column.a", "R", "1", one},
		{"project", `{"action":"a",` + repo + `,"project":{"id":1,` + at + `}}`, "project.a", "R", "1", one},
		{"public", `{` + repo + `}`, "public", "O", "N", one},
		{"pull_request", `{"action":"a","number":2,` + repo + `,"pull_request":{` + at + `}}`, "pull_request.a", "R", "2", one},
		{"pull_request_review", `{"action":"a","pull_request":{"url":"P"},"review":{"id":1,"submitted_at":"` + one + `"}}`, "pull_request_review.a", "P", "1", one},
		{"pull_request_review_comment", `{"action":"a","pull_request":{"url":"P",` + at + `},"comment":{"id":1}}`, "pull_request_review_comment.a", "P", "1", one},
		{"push", `{"ref":"refs/heads/main",` + repo + `}`, "push", "R", "refs/heads/main", ""},
		{"registry_package", `{"action":"a",` + repo + `,"registry_package":{"html_url":"H",` + at + `}}`, "registry_package.a", "R", "H", one},
		{"release", `{"action":"published",` + repo + `,"release":{"id":1,"created_at":"` + one + `","published_at":"` + two + `"}}`, "release.published", "R", "1", two},
		{"release", `{"action":"created",` + repo + `,"release":{"id":1,"created_at":"` + one + `","published_at":null}}`, "release.created", "R", "1", one},
		{"repository", `{"action":"a",` + repo + `}`, "repository.a", "O", "N", one},
		{"repository_import", `{"status":"success",` + repo + `}`, "repository_import", "O", "N", one},
		{"repository_vulnerability_alert", `{"action":"a",` + repo + `,"alert":{"id":1}}`, "repository_vulnerability_alert.a", "R", "1", ""},
		{"security_advisory", `{"action":"a","security_advisory":{"ghsa_id":"G",` + at + `}}`, "security_advisory.a", "github.com", "G", one},
		{"star", `{"action":"created",` + repo + `,"starred_at":"` + one + `"}`, "star.created", "R", "", one},
		{"star", `{"action":"deleted",` + repo + `,"starred_at":null}`, "star.deleted", "R", "", ""},
		{"status", `{"state":"success","sha":"S",` + at + `,` + repo + `}`, "status.success", "R", "S", one},
		{"team", `{"action":"a",` + repo + `,"team":{"id":1}}`, "team.a", "R", "1", ""},
		{"team", `{"action":"a","organization":{"url":"G"},"team":{"id":1}}`, "team.a", "G", "1", ""},
		{"team_add", `{` + repo + `,"team":{"id":1}}`, "team_add", "R", "1", ""},
		{"watch", `{"action":"started",` + repo + `}`, "watch.started", "R", "", ""},
		// What the adapter does not know is mapped as most of it is.
		{"ping", `{"zen":"z","hook_id":1,` + repo + `}`, "ping", "R", "", ""},
		{"ping", `{"zen":"z"}`, "ping", "github.com", "", ""},
		{"workflow_run", `{"action":"completed",` + repo + `,"workflow_run":{"id":9,` + at + `}}`, "workflow_run.completed", "R", "9", one},
		{"new_thing", `{"action":"a","organization":{"url":"G"}}`, "new_thing.a", "G", "", ""},
		{"new_thing", `[]`, "new_thing", "github.com", "", ""},
	} {
		e := github(t, c[0], c[1])
		got := [4]string{strings.TrimPrefix(e.Type, "com.github."), e.Source, e.Subject, e.Time}
		require.Equal(t, [4]string(c[2:]), got, "%s %s", c[0], c[1])
	}
}

func TestFormOfGitHubHasItsPayloadAsData(t *testing.T) {
	t.Parallel()
	form := "payload=%7B%22action%22%3A%22opened%22%2C%22issue%22%3A%7B%22number%22%3A1%7D%7D"
	h := headers("X-Hub-Signature-256", "sha256="+hexOf("k", form), "X-GitHub-Event", "issues", "X-GitHub-Delivery", "d", "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	e, why := sources.EventOf(kind("github"), "k", time.Unix(0, 0), h, []byte(form))
	require.Empty(t, why)
	require.True(t, bytes.Equal([]byte(`{"action":"opened","issue":{"number":1}}`), e.Data), "byte for byte")
	require.Equal(t, "com.github.issue.opened", e.Type)

	for _, bad := range []string{"", "a=b", "payload=%zz", "payload=%7B"} {
		h.Set("X-Hub-Signature-256", "sha256="+hexOf("k", bad))
		_, why := sources.EventOf(kind("github"), "k", time.Unix(0, 0), h, []byte(bad))
		require.NotEmpty(t, why, bad)
	}
}

const now = 1760000000

// stripe, slack, shopify and standard sign as the vendors do, now.
func stripe(secret, body string) []string {
	at := strconv.Itoa(now)
	return []string{"Stripe-Signature", "t=" + at + ",v1=" + hexOf(secret, at+"."+body)}
}

func slack(secret, body string) []string { return slackAt(secret, body, now) }

func slackAt(secret, body string, at int64) []string {
	text := strconv.FormatInt(at, 10)
	return []string{"X-Slack-Request-Timestamp", text, "X-Slack-Signature", "v0=" + hexOf(secret, "v0:"+text+":"+body)}
}

func shopify(secret, body string) []string {
	return []string{"X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(macOf(secret, body))}
}

func TestOtherVendorsAreMapped(t *testing.T) {
	t.Parallel()
	topic := []string{
		"X-Shopify-Topic", "orders/create", "X-Shopify-Webhook-Id", "w-1", "X-Shopify-Shop-Domain", "a.myshopify.com", "X-Shopify-Triggered-At", "2026-01-02T03:04:05.123456789Z",
	}
	for _, c := range []struct {
		kind, body string
		sign       func(secret, body string) []string
		headers    []string
		want       [5]string // id, type, source, subject, time
	}{
		{
			"stripe", `{"id":"evt_1","object":"event","type":"payment_intent.succeeded","created":1686089970,"data":{"object":{"id":"pi_1"}},"account":null}`, stripe, nil,
			[5]string{"evt_1", "com.stripe.payment_intent.succeeded", "https://api.stripe.com", "pi_1", "2023-06-06T22:19:30Z"},
		},
		{
			"stripe", `{"id":"evt_2","type":"v2.core.account.updated","created":"2024-09-26T17:46:22.134Z","context":"acct_1","related_object":{"id":"acct_2"}}`, stripe, nil,
			[5]string{"evt_2", "com.stripe.v2.core.account.updated", "https://api.stripe.com/v1/accounts/acct_1", "acct_2", "2024-09-26T17:46:22.134Z"},
		},
		{
			"slack", `{"type":"event_callback","team_id":"T1","event_id":"Ev1","event_time":1234567890,"event":{"type":"app_mention","channel":"C1"}}`, slack, nil,
			[5]string{"Ev1", "com.slack.app_mention", "https://app.slack.com/client/T1", "C1", "2009-02-13T23:31:30Z"},
		},
		{
			"slack", `{"type":"app_rate_limited","team_id":"T1","minute_rate_limited":1518467820}`, slack, nil,
			[5]string{"", "com.slack.app_rate_limited", "https://app.slack.com/client/T1", "", "2018-02-12T20:37:00Z"},
		},
		{
			"shopify", `{"id":820982911946154508}`, shopify, topic,
			[5]string{"w-1", "com.shopify.orders.create", "https://a.myshopify.com", "820982911946154508", "2026-01-02T03:04:05.123456789Z"},
		},
	} {
		h := headers(append(c.sign("secret", c.body), c.headers...)...)
		e, why := sources.EventOf(kind(c.kind), "secret", time.Unix(now, 0), h, []byte(c.body))
		require.Empty(t, why, c.body)
		id := ""
		if e.ID != nil {
			id = *e.ID
		}
		require.Equal(t, c.want, [5]string{id, e.Type, e.Source, e.Subject, e.Time})
		require.Equal(t, c.body, string(e.Data))
	}
}

func TestProvedDeliveriesThatAreNoEventsSayWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, body, want string
		sign             func(secret, body string) []string
	}{
		{"stripe", `{"type":"a"}`, "id or type is missing", stripe},
		{"stripe", `[]`, "id or type is missing", stripe},
		{"stripe", `no JSON`, "not JSON", stripe},
		{"stripe", "{\"id\":\"\xff\"}", "not valid UTF-8", stripe},
		{"stripe", strings.Repeat("[", 1000), "deeper", stripe},
		{"slack", `{}`, "type is missing", slack},
		{"slack", `token=x&team_id=T1`, "not JSON", slack},
		{"shopify", `{}`, "X-Shopify-Topic", shopify},
	} {
		_, why := sources.EventOf(kind(c.kind), "secret", time.Unix(now, 0), headers(c.sign("secret", c.body)...), []byte(c.body))
		require.Contains(t, why, c.want, c.body)
	}
}

func TestGenericSourceTakesTypeAndIDFromWhereItSays(t *testing.T) {
	t.Parallel()
	body := `{"a/b":[{"t":"order.paid"}],"id":17}`
	for i, c := range []struct {
		hmac             sources.HMAC
		wantType, wantID string
		why              string
	}{
		{sources.HMAC{Type: "fixed"}, "fixed", "", ""},
		{sources.HMAC{TypeHeader: "X-Event", IDHeader: "X-Id"}, "from.header", "h-1", ""},
		{sources.HMAC{TypePointer: "/a~1b/0/t", IDPointer: "/id"}, "order.paid", "17", ""},
		{sources.HMAC{TypePointer: "/a~1b/1/t"}, "", "", "type of the event is missing in /a~1b/1/t"},
		{sources.HMAC{TypeHeader: "X-None"}, "", "", "type of the event is missing in X-None"},
		{sources.HMAC{Type: "fixed", IDPointer: "/a~1b"}, "fixed", "", "id of the delivery is missing in /a~1b"},
		{sources.HMAC{Type: "fixed", IDHeader: "X-None"}, "fixed", "", "id of the delivery is missing in X-None"},
	} {
		c.hmac.Header = "X-Sig"
		h := headers("X-Sig", hexOf("k", body), "X-Event", "from.header", "X-Id", "h-1")
		s := sources.Source{Kind: "hmac", HMAC: &c.hmac, Path: "/sources/1"}
		e, why := sources.EventOf(s, "k", time.Unix(0, 0), h, []byte(body))
		message := fmt.Sprint(i)
		if c.why != "" {
			require.Contains(t, why, c.why, message)
			continue
		}
		require.Empty(t, why, message)
		require.Equal(t, c.wantType, e.Type, message)
		if c.wantID == "" {
			require.Nil(t, e.ID, message)
			continue
		}
		require.Equal(t, c.wantID, *e.ID, message)
	}
}
