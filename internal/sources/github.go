package sources

import (
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/signalstack/signalstack/internal/events"
)

// githubClaim reads a signature of GitHub (docs.github.com, "Validating webhook
// deliveries"). The older SHA-1 of X-Hub-Signature proves nothing today.
func githubClaim(h http.Header, body []byte) (claim, *rejection) {
	macs, err := hexMAC(h, "X-Hub-Signature-256", "sha256=")
	return claim{hash: sha256.New, signed: [][]byte{body}, macs: macs}, err
}

// mapping is a row of the CloudEvents adapter for GitHub: JSON pointers into the
// payload, of which the first that names something counts.
type mapping struct {
	name    string   // in place of the event's own, where the adapter has another
	suffix  []string // each that names something is added to the type
	source  []string
	subject []string
	time    []string
}

var (
	byAction = []string{"/action"}
	byRef    = []string{"/ref_type"}
	repo     = []string{"/repository/url"}
)

// githubMappings is the adapter (cloudevents/spec, adapters/github.md) by the event
// in X-GitHub-Event. What stands as "Current time" there has no time here. Where the
// page doubts itself: a status gets its state as suffix.
var githubMappings = map[string]mapping{
	"check_run":                      {suffix: byAction, source: repo, subject: []string{"/check_run/id"}, time: []string{"/check_run/completed_at", "/check_run/started_at"}},
	"check_suite":                    {suffix: byAction, source: repo, subject: []string{"/check_suite/id"}, time: []string{"/check_suite/updated_at"}},
	"commit_comment":                 {suffix: byAction, source: []string{"/comment/url"}, subject: []string{"/comment/id"}, time: []string{"/comment/updated_at"}},
	"content_reference":              {suffix: byAction, source: repo, subject: []string{"/content_reference/id"}},
	"create":                         {suffix: byRef, source: repo, subject: []string{"/ref"}},
	"delete":                         {suffix: byRef, source: repo, subject: []string{"/ref"}},
	"deploy_key":                     {suffix: byAction, source: repo, subject: []string{"/key/id"}, time: []string{"/key/deleted_at", "/key/created_at"}},
	"deployment":                     {source: repo, subject: []string{"/deployment/id"}, time: []string{"/deployment/updated_at"}},
	"deployment_status":              {suffix: []string{"/deployment_status/state"}, source: []string{"/deployment/url"}, subject: []string{"/deployment_status/url"}, time: []string{"/deployment_status/updated_at"}},
	"fork":                           {source: repo, subject: []string{"/forkee/url"}, time: []string{"/forkee/created_at"}},
	"github_app_authorization":       {source: []string{"/sender/url"}},
	"gollum":                         {source: repo},
	"installation":                   {suffix: byAction, source: []string{"/installation/account/url"}, subject: []string{"/installation/id"}, time: []string{"/installation/updated_at"}},
	"installation_repositories":      {name: "installation_repository", suffix: byAction, source: []string{"/installation/account/url"}, subject: []string{"/installation/id"}, time: []string{"/installation/updated_at"}},
	"issue_comment":                  {suffix: byAction, source: []string{"/issue/url"}, subject: []string{"/comment/id"}, time: []string{"/comment/updated_at"}},
	"issues":                         {name: "issue", suffix: byAction, source: repo, subject: []string{"/issue/number"}, time: []string{"/issue/updated_at"}},
	"label":                          {suffix: byAction, source: repo, subject: []string{"/label/name"}},
	"marketplace_purchase":           {suffix: byAction, source: []string{"/sender/url"}, subject: []string{"/marketplace_purchase/account/login"}, time: []string{"/effective_date"}},
	"member":                         {suffix: byAction, source: repo, subject: []string{"/member/login"}},
	"membership":                     {suffix: []string{"/scope", "/action"}, source: []string{"/team/url"}, subject: []string{"/member/login"}},
	"meta":                           {suffix: byAction, source: repo, subject: []string{"/hook_id"}, time: []string{"/hook/updated_at"}},
	"milestone":                      {suffix: byAction, source: repo, subject: []string{"/milestone/number"}, time: []string{"/milestone/updated_at"}},
	"org_block":                      {suffix: byAction, source: []string{"/organization/url"}, subject: []string{"/blocked_user/login"}},
	"organization":                   {suffix: byAction, source: []string{"/organization/url"}, subject: []string{"/membership/user/login"}},
	"page_build":                     {source: repo, subject: []string{"/build/url"}, time: []string{"/pusher/updated_at"}},
	"project":                        {suffix: byAction, source: repo, subject: []string{"/project/id"}, time: []string{"/project/updated_at"}},
	"project_card":                   {suffix: byAction, source: repo, subject: []string{"/project_card/id"}, time: []string{"/project_card/updated_at"}},
	"project_column":                 {suffix: byAction, source: repo, subject: []string{"/project_column/id"}, time: []string{"/project_column/updated_at"}},
	"public":                         {source: []string{"/repository/owner/url"}, subject: []string{"/repository/name"}, time: []string{"/repository/updated_at"}},
	"pull_request":                   {suffix: byAction, source: repo, subject: []string{"/number"}, time: []string{"/pull_request/updated_at"}},
	"pull_request_review":            {suffix: byAction, source: []string{"/pull_request/url"}, subject: []string{"/review/id"}, time: []string{"/review/submitted_at"}},
	"pull_request_review_comment":    {suffix: byAction, source: []string{"/pull_request/url"}, subject: []string{"/comment/id"}, time: []string{"/pull_request/updated_at"}},
	"push":                           {source: repo, subject: []string{"/ref"}},
	"registry_package":               {suffix: byAction, source: repo, subject: []string{"/registry_package/html_url"}, time: []string{"/registry_package/updated_at"}},
	"release":                        {suffix: byAction, source: repo, subject: []string{"/release/id"}},
	"repository":                     {suffix: byAction, source: []string{"/repository/owner/url"}, subject: []string{"/repository/name"}, time: []string{"/repository/updated_at"}},
	"repository_import":              {source: []string{"/repository/owner/url"}, subject: []string{"/repository/name"}, time: []string{"/repository/updated_at"}},
	"repository_vulnerability_alert": {suffix: byAction, source: repo, subject: []string{"/alert/id"}},
	"security_advisory":              {suffix: byAction, subject: []string{"/security_advisory/ghsa_id"}, time: []string{"/security_advisory/updated_at"}},
	"star":                           {suffix: byAction, source: repo, time: []string{"/starred_at"}},
	"status":                         {suffix: []string{"/state"}, source: repo, subject: []string{"/sha"}, time: []string{"/updated_at"}},
	"team":                           {suffix: byAction, source: repo, subject: []string{"/team/id"}, time: []string{"/updated_at"}},
	"team_add":                       {suffix: byAction, source: repo, subject: []string{"/team/id"}},
	"watch":                          {suffix: byAction, source: repo},
}

// githubMapping gives the row of an event; what the adapter does not know is mapped
// as most of it is.
func githubMapping(event string, d document) mapping {
	m, known := githubMappings[event]
	switch {
	case !known:
		of := "/" + event
		m = mapping{suffix: byAction, subject: []string{of + "/id"}, time: []string{of + "/updated_at"}}
	case event == "release":
		// The adapter: "release.*_at value based on action".
		m.time = []string{"/release/" + d.text("/action") + "_at", "/release/published_at", "/release/created_at"}
	}
	// Events of an organization or an app have no repository.
	m.source = append(m.source[:len(m.source):len(m.source)], "/repository/url", "/organization/url", "/installation/account/url", "/sender/url")
	return m
}

// githubEvent makes the event of a delivery by the CloudEvents adapter for GitHub.
func githubEvent(d delivery) (events.NewEvent, *rejection) {
	name, id := d.header.Get("X-GitHub-Event"), d.header.Get("X-GitHub-Delivery")
	if name == "" || id == "" {
		return events.NewEvent{}, unreadable("the headers X-GitHub-Event and X-GitHub-Delivery are missing")
	}
	m := githubMapping(name, d.doc)
	e := events.NewEvent{
		ID: &id, Data: d.body, Source: d.doc.text(m.source...), Subject: d.doc.text(m.subject...), Time: d.doc.moment(m.time...),
	}
	if m.name != "" {
		name = m.name
	}
	e.Type = "com.github." + name
	for _, pointer := range m.suffix {
		if s := d.doc.text(pointer); s != "" {
			e.Type += "." + s
		}
	}
	switch name {
	case "commit_comment":
		e.Source += "/" + d.doc.text("/comment/commit_id")
	case "marketplace_purchase":
		e.Source = e.Source[:max(0, strings.LastIndexByte(e.Source, '/'))] // "without the /username portion"
	case "security_advisory":
		e.Source = ""
	}
	if e.Source == "" {
		e.Source = "github.com"
	}
	return e, nil
}
