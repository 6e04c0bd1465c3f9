package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/keys"
)

// access says who may run an operation.
type access struct {
	scope  keys.Scope      // of keys; not asked for when the operation is anybody's
	portal keys.Permission // of sessions in the portal; "": none may
	of     whose
}

// whose says how an operation is kept to the things of a tenant, for callers that act
// for one only.
type whose struct {
	how    binding
	noun   string   // object: what is not there when it is another tenant's
	table  string   // object: where it is
	params []string // object: its id in the path, and what follows it
}

type binding int

const (
	anybodys binding = iota // it needs no credentials
	alls                    // it is about all tenants, and not for who acts for one
	nobodys                 // it sees and changes nothing of anybody's
	proven                  // what it is given proves the right to it: leases are signed, and go to who claimed
	given                   // it has a parameter or a field "tenant", which httpapi binds
	inPath                  // its path names the tenant
	objects                 // its path names a thing that belongs to a tenant
)

// named is for operations with a parameter "tenant" in the query or a field of that name
// in the body.
func named() whose { return whose{how: given} }

// global is for operations that are about all tenants at once.
func global() whose { return whose{how: alls} }

// object is for operations on one thing. The first parameter is its id.
func object(noun, table string, params ...string) whose {
	return whose{how: objects, noun: noun, table: table, params: params}
}

// Things that belong to a tenant, by the parameter id of the path.
func endpoint() whose  { return object("endpoint", "endpoints", "id") }
func rule() whose      { return object("rule", "rules", "id") }
func event() whose     { return object("event", "events", "id") }
func job() whose       { return object("job", "jobs", "id") }
func source() whose    { return object("source", "sources", "id") }
func replay() whose    { return object("replay", "bulk_operations", "id") }
func erasure() whose   { return object("erasure", "erasures", "id") }
func operation() whose { return object("operation", "bulk_operations", "id") }
func schedule() whose  { return object("schedule", "schedules", "id") }
func key() whose       { return object("key", "keys", "id") }
func attempt() whose   { return object("attempt", "jobs", "job_id", "lease") }

const (
	noPortal = keys.Permission("")
	look     = keys.PortalRead
	manage   = keys.PortalManage
)

// accessTable says of each operation who may run it. One that does not stand here is for
// keys of scope admin and all tenants, and fails a test.
func accessTable() map[string]access {
	return map[string]access{
		// No credentials: probes, and vendors, who sign what they send.
		"health": {}, "readyz": {}, "livez": {}, "receive-webhook": {},

		"send-events": {keys.Ingest, noPortal, named()},
		"create-jobs": {keys.Ingest, noPortal, named()},

		// A worker of one tenant is given its jobs only, and leases of no others.
		"claim-jobs":      {keys.Work, noPortal, named()},
		"extend-lease":    {keys.Work, noPortal, whose{how: proven}},
		"progress-lease":  {keys.Work, noPortal, whose{how: proven}},
		"complete-lease":  {keys.Work, noPortal, whose{how: proven}},
		"complete-leases": {keys.Work, noPortal, whose{how: proven}},
		"fail-lease":      {keys.Work, noPortal, whose{how: proven}},
		"fail-leases":     {keys.Work, noPortal, whose{how: proven}},
		"snooze-lease":    {keys.Work, noPortal, whose{how: proven}},

		"list-events":         {keys.Read, noPortal, named()},
		"get-event":           {keys.Read, noPortal, event()},
		"test-rule":           {keys.Read, noPortal, whose{how: nobodys}},
		"list-rules":          {keys.Read, noPortal, named()},
		"get-rule":            {keys.Read, noPortal, rule()},
		"list-jobs":           {keys.Read, look, named()},
		"get-job":             {keys.Read, look, job()},
		"list-attempts":       {keys.Read, look, named()},
		"get-attempt":         {keys.Read, look, attempt()},
		"list-endpoints":      {keys.Read, look, named()},
		"get-endpoint":        {keys.Read, look, endpoint()},
		"list-event-types":    {keys.Read, look, named()},
		"get-event-type":      {keys.Read, look, named()},
		"list-sources":        {keys.Read, noPortal, named()},
		"get-source":          {keys.Read, noPortal, source()},
		"list-replays":        {keys.Read, noPortal, named()},
		"list-operations":     {keys.Read, noPortal, named()},
		"get-operation":       {keys.Read, noPortal, operation()},
		"get-replay":          {keys.Read, noPortal, replay()},
		"list-erasures":       {keys.Read, noPortal, named()},
		"get-erasure":         {keys.Read, noPortal, erasure()},
		"get-summary":         {keys.Read, noPortal, named()},
		"get-timeseries":      {keys.Read, noPortal, named()},
		"list-schedules":      {keys.Read, noPortal, named()},
		"get-schedule":        {keys.Read, noPortal, schedule()},
		"list-schedule-fires": {keys.Read, noPortal, schedule()},
		"preview-schedule":    {keys.Read, noPortal, whose{how: nobodys}},
		"list-queues":         {keys.Read, noPortal, global()},
		"get-queue":           {keys.Read, noPortal, global()},
		"list-limits":         {keys.Read, noPortal, global()},
		"list-tenants":        {keys.Read, noPortal, global()},
		"get-tenant":          {keys.Read, noPortal, whose{how: inPath}},

		"create-endpoint":        {keys.Admin, manage, named()},
		"update-endpoint":        {keys.Admin, manage, endpoint()},
		"delete-endpoint":        {keys.Admin, manage, endpoint()},
		"enable-endpoint":        {keys.Admin, manage, endpoint()},
		"rotate-endpoint-secret": {keys.Admin, manage, endpoint()},
		"test-endpoint":          {keys.Admin, manage, endpoint()},
		"recover-endpoint":       {keys.Admin, manage, endpoint()},
		"retry-job":              {keys.Admin, manage, job()},

		"cancel-job":             {keys.Admin, noPortal, job()},
		"update-job":             {keys.Admin, noPortal, job()},
		"create-rule":            {keys.Admin, noPortal, named()},
		"update-rule":            {keys.Admin, noPortal, rule()},
		"delete-rule":            {keys.Admin, noPortal, rule()},
		"create-event-type":      {keys.Admin, noPortal, named()},
		"add-event-type-version": {keys.Admin, noPortal, named()},
		"update-event-type":      {keys.Admin, noPortal, named()},
		"delete-event-type":      {keys.Admin, noPortal, named()},
		"create-source":          {keys.Admin, noPortal, named()},
		"update-source":          {keys.Admin, noPortal, source()},
		"delete-source":          {keys.Admin, noPortal, source()},
		"create-schedule":        {keys.Admin, noPortal, named()},
		"update-schedule":        {keys.Admin, noPortal, schedule()},
		"delete-schedule":        {keys.Admin, noPortal, schedule()},
		"pause-schedule":         {keys.Admin, noPortal, schedule()},
		"resume-schedule":        {keys.Admin, noPortal, schedule()},
		"run-schedule":           {keys.Admin, noPortal, schedule()},
		"replay-event":           {keys.Admin, noPortal, event()},
		"create-replay":          {keys.Admin, noPortal, named()},
		"cancel-replay":          {keys.Admin, noPortal, replay()},
		"cancel-operation":       {keys.Admin, noPortal, operation()},
		"retry-jobs":             {keys.Admin, noPortal, named()},
		"cancel-jobs":            {keys.Admin, noPortal, named()},
		"erase-event":            {keys.Admin, noPortal, event()},
		"erase-subject":          {keys.Admin, noPortal, named()},
		"create-key":             {keys.Admin, noPortal, named()},
		"list-keys":              {keys.Admin, noPortal, named()},
		"delete-key":             {keys.Admin, noPortal, key()},
		"create-portal-link":     {keys.Admin, noPortal, named()},
		"revoke-portal-links":    {keys.Admin, noPortal, named()},

		// What an operator sets of a tenant is not for the tenant to change.
		"update-queue": {keys.Admin, noPortal, global()},
		"set-limit":    {keys.Admin, noPortal, global()},
		"set-tenant":   {keys.Admin, noPortal, global()},
	}
}

// webhook is the kind of the jobs that a session in the portal sees.
const webhook = "webhook"

// operatorFields are those of an endpoint by which an operator bounds it. Sessions in
// the portal have none of them.
var operatorFields = []string{"timeout", "retry", "max_attempts", "max_age", "rate_limit", "max_in_flight", "reset"}

// access decides about requests; nil when nobody needs credentials.
func (a *App) access() httpapi.Access {
	if !a.ring.On() {
		return nil
	}
	table := accessTable()
	return func(ctx context.Context, ask httpapi.Ask) (httpapi.Grant, error) {
		need, listed := table[ask.Operation]
		switch {
		case !listed:
			need = access{scope: keys.Admin, of: global()}
		case need.of.how == anybodys:
			return httpapi.Grant{}, nil
		}
		caller, err := a.ring.Caller(ctx, ask.Token)
		if err != nil {
			return httpapi.Grant{}, err
		}
		if err := need.check(caller); err != nil || caller.Tenant == "" {
			return httpapi.Grant{}, err
		}
		if err := a.checkOwner(ctx, need.of, caller, ask.Param); err != nil {
			return httpapi.Grant{}, err
		}
		grant := httpapi.Grant{Tenant: caller.Tenant}
		if caller.Portal != "" {
			grant.Query, grant.Withheld = map[string]string{"kind": webhook}, operatorFields
		}
		return grant, nil
	}
}

// check refuses a caller that may not run the operation.
func (n access) check(c keys.Caller) error {
	switch {
	case c.Portal != "" && n.portal == "":
		return fault.New(fault.Forbidden, "not_in_portal", "A link to the portal does not allow this.")
	case c.Portal == look && n.portal == manage:
		return fault.New(fault.Forbidden, "portal_manage_needed", "This link allows reading only; make one with the permissions manage.")
	case c.Portal == "" && !c.Has(n.scope):
		return fault.New(fault.Forbidden, "scope_"+string(n.scope)+"_needed", "The API key lacks the scope %s, which this operation needs.", n.scope)
	case c.Tenant != "" && n.of.how == alls:
		return fault.New(fault.Forbidden, "all_tenants_needed", "This is about all tenants, and these credentials act for tenant %s only.", c.Tenant)
	}
	return nil
}

// checkOwner refuses a caller that acts for one tenant the things of others. What is not
// there is refused here too, so that the two cannot be told apart.
func (a *App) checkOwner(ctx context.Context, of whose, c keys.Caller, param func(string) string) error {
	switch of.how {
	case inPath:
		if param("tenant") != c.Tenant {
			return httpapi.OtherTenant("/path/tenant", c.Tenant)
		}
		return nil
	case objects:
	default:
		return nil
	}
	id, err := httpapi.ParseID(param(of.params[0]))
	if err != nil {
		return fault.InvalidParameter("/path/"+of.params[0], "must be a UUID")
	}
	kind := "''"
	if of.table == "jobs" {
		kind = "kind"
	}
	var owned struct {
		Tenant string `db:"tenant"`
		Kind   string `db:"kind"`
	}
	// By the primary key, which finds the partition too.
	err = a.db.GetContext(ctx, &owned, `SELECT tenant, `+kind+` AS kind FROM signalstack.`+of.table+` WHERE id = $1`, id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("find whose %s it is: %w", of.noun, err)
	}
	if err != nil || owned.Tenant != c.Tenant || c.Portal != "" && of.table == "jobs" && owned.Kind != webhook {
		texts := make([]string, len(of.params))
		for i, name := range of.params {
			texts[i] = param(name)
		}
		return fault.Missing(of.noun, strings.Join(texts, "/"))
	}
	return nil
}

// documentAccess says of each operation what it needs, in the document.
func documentAccess(api *httpapi.API) {
	table := accessTable()
	for _, item := range api.OpenAPI().Paths {
		for _, op := range []*httpapi.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			need, listed := table[op.OperationID]
			scope := string(need.scope)
			switch {
			case !listed:
				scope = string(keys.Admin)
			case need.of.how == anybodys:
				scope = "none"
			}
			op.Extensions = map[string]any{"x-scope": scope}
		}
	}
}
