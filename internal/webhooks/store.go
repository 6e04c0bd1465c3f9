package webhooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/sealed"
)

// row is an endpoint as the table has it.
type row struct {
	ID          uuid.UUID      `db:"id"`
	Tenant      string         `db:"tenant"`
	URL         string         `db:"url"`
	Description string         `db:"description"`
	Secret      []byte         `db:"secret"`
	EventTypes  pq.StringArray `db:"event_types"`
	Headers     []byte         `db:"headers"`
	Format      string         `db:"format"`
	Pattern     *string        `db:"pattern"`
	Transform   string         `db:"transform"`
	Enabled     bool           `db:"enabled"`
	CreatedAt   time.Time      `db:"created_at"`
	UpdatedAt   time.Time      `db:"updated_at"`

	OldSecrets     []byte     `db:"old_secrets"`
	Credentials    []byte     `db:"credentials"`
	Delivery       string     `db:"delivery"`
	DisabledReason string     `db:"disabled_reason"`
	DisabledAt     *time.Time `db:"disabled_at"`
	Now            time.Time  `db:"now"`
}

const columns = `id, tenant, url, description, secret, old_secrets, event_types, pattern, transform, headers, credentials, delivery, format, enabled, disabled_reason, disabled_at, created_at, updated_at, now() AS now`

// qualified are the columns of endpoints e beside other tables, as those who deliver
// need them: without pattern and transform, which can be long.
const qualified = `e.id, e.tenant, e.url, e.description, e.secret, e.old_secrets, e.event_types, e.headers, e.credentials, e.delivery, e.format, e.enabled, e.disabled_reason, e.disabled_at,
	e.created_at, e.updated_at, now() AS now`

// whole are all columns.
const whole = qualified + `, e.pattern, e.transform`

// target is an endpoint with its secrets in the clear, for those who deliver.
type target struct {
	Endpoint
	secret      string
	old         []oldSecret
	headers     map[string]string
	credentials credentials
	now         time.Time // the database's, when it was read
	anew        bool      // what is known of its failures is to be forgotten
}

// lane is where the endpoint's jobs wait.
func (t target) lane() string { return queue.EndpointLane(t.Tenant, t.ID) }

// Sealed values are bound to their row and column, so that one copied elsewhere
// does not open.
func secretContext(id uuid.UUID) string      { return "endpoint secret " + id.String() }
func headersContext(id uuid.UUID) string     { return "endpoint headers " + id.String() }
func credentialsContext(id uuid.UUID) string { return "endpoint credentials " + id.String() }
func oldContext(id uuid.UUID) string         { return "endpoint old secrets " + id.String() }

func (r row) open(box *sealed.Box) (target, error) {
	t := target{now: r.Now, Endpoint: Endpoint{
		ID: r.ID, Tenant: r.Tenant, URL: r.URL, Description: r.Description, EventTypes: r.EventTypes, Format: r.Format, Enabled: r.Enabled,
		DisabledReason: r.DisabledReason, DisabledAt: r.DisabledAt, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		Headers: map[string]string{}, Health: EndpointHealth{State: healthy},
	}}
	if t.EventTypes == nil {
		t.EventTypes = []string{}
	}
	if t.Transform = r.Transform; r.Pattern != nil {
		t.Pattern = httpapi.JSON(*r.Pattern)
	}
	if err := json.Unmarshal([]byte(r.Delivery), &t.Delivery); err != nil {
		return target{}, fmt.Errorf("read how endpoint %s is delivered to: %w", r.ID, err)
	}
	secret, err := box.Open(r.Secret, secretContext(r.ID))
	if err != nil {
		return target{}, fmt.Errorf("open the secret of endpoint %s: %w", r.ID, err)
	}
	t.secret = string(secret)
	if err := unseal(box, r.Headers, headersContext(r.ID), &t.headers); err != nil {
		return target{}, fmt.Errorf("open the headers of endpoint %s: %w", r.ID, err)
	}
	if r.OldSecrets != nil {
		if err := unseal(box, r.OldSecrets, oldContext(r.ID), &t.old); err != nil {
			return target{}, fmt.Errorf("open the old secrets of endpoint %s: %w", r.ID, err)
		}
	}
	if r.Credentials != nil {
		if err := unseal(box, r.Credentials, credentialsContext(r.ID), &t.credentials); err != nil {
			return target{}, fmt.Errorf("open the credentials of endpoint %s: %w", r.ID, err)
		}
	}
	t.show()
	return t, nil
}

// show sets what is shown of secrets.
func (t *target) show() {
	t.Scheme, t.PublicKey, t.OldSecrets = schemeOf(t.secret), publicKey(t.secret), nil
	for _, o := range t.old {
		if t.now.Before(o.Until) {
			t.OldSecrets = append(t.OldSecrets, OldSecret{Scheme: schemeOf(o.Secret), PublicKey: publicKey(o.Secret), Until: o.Until.UTC()})
		}
	}
	for name := range t.headers {
		t.Headers[name] = hidden
	}
	t.Endpoint.Auth, t.Endpoint.CertificateExpiresAt = t.credentials.Auth.shown(), t.credentials.certificateEnd()
	if files := t.credentials.TLS; files != nil {
		shown := *files
		if shown.Key != "" {
			shown.Key = hidden
		}
		t.Endpoint.TLS = &shown
	}
}

// unseal reads sealed JSON.
func unseal(box *sealed.Box, kept []byte, context string, into any) error {
	plain, err := box.Open(kept, context)
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, into)
}

// seal makes the row of a target.
func (t target) seal(box *sealed.Box) (row, error) {
	headers, err := json.Marshal(t.headers)
	if err != nil {
		return row{}, fmt.Errorf("write headers: %w", err)
	}
	delivery, err := json.Marshal(t.Delivery)
	if err != nil {
		return row{}, fmt.Errorf("write how it is delivered to: %w", err)
	}
	r := row{
		ID: t.ID, Tenant: t.Tenant, URL: t.URL, Description: t.Description, EventTypes: t.EventTypes, Transform: t.Transform, Delivery: string(delivery),
		Format: t.Format, Enabled: t.Enabled, DisabledReason: t.DisabledReason, DisabledAt: t.DisabledAt,
		Secret: box.Seal([]byte(t.secret), secretContext(t.ID)), Headers: box.Seal(headers, headersContext(t.ID)),
	}
	if t.Pattern != nil {
		text := string(t.Pattern)
		r.Pattern = &text
	}
	if t.credentials != (credentials{}) {
		kept, err := json.Marshal(t.credentials)
		if err != nil {
			return row{}, fmt.Errorf("write credentials: %w", err)
		}
		r.Credentials = box.Seal(kept, credentialsContext(t.ID))
	}
	if len(t.old) > 0 {
		old, err := json.Marshal(t.old) //nolint:gosec // sealed at once
		if err != nil {
			return row{}, fmt.Errorf("write old secrets: %w", err)
		}
		r.OldSecrets = box.Seal(old, oldContext(t.ID))
	}
	return r, nil
}

// insert stores an endpoint with the limits of its lane, in the caller's transaction.
func insert(ctx context.Context, tx pg.Querier, box *sealed.Box, t target) (target, error) {
	r, err := t.seal(box)
	if err != nil {
		return target{}, err
	}
	err = tx.GetContext(ctx, &r, `
		INSERT INTO signalstack.endpoints
		       (id, tenant, url, description, secret, event_types, headers, credentials, delivery, format, enabled, pattern, transform, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now(), now())
		RETURNING `+columns, r.ID, r.Tenant, r.URL, r.Description, r.Secret, r.EventTypes, r.Headers, r.Credentials, r.Delivery, r.Format, r.Enabled,
		r.Pattern, r.Transform)
	if err != nil {
		return target{}, fmt.Errorf("insert endpoint: %w", err)
	}
	if control := t.Delivery.control(t.lane()); t.limited() {
		if err := queue.PutControl(ctx, tx, control); err != nil {
			return target{}, err
		}
	}
	return r.open(box)
}

// limited says whether the endpoint's lane has limits.
func (t target) limited() bool { return t.RateLimit != nil || t.MaxInFlight > 0 }

// update stores what has changed of an endpoint, in the caller's transaction.
func update(ctx context.Context, tx pg.Querier, box *sealed.Box, t target) (target, error) {
	r, err := t.seal(box)
	if err != nil {
		return target{}, err
	}
	err = tx.GetContext(ctx, &r, `
		UPDATE signalstack.endpoints
		SET url = $2, description = $3, secret = $4, old_secrets = $5, event_types = $6, headers = $7, delivery = $8, format = $9,
		    enabled = $10, disabled_reason = $11, disabled_at = $12, credentials = $13, pattern = $14, transform = $15, updated_at = now()
		WHERE id = $1
		RETURNING `+columns, r.ID, r.URL, r.Description, r.Secret, r.OldSecrets, r.EventTypes, r.Headers, r.Delivery, r.Format,
		r.Enabled, r.DisabledReason, r.DisabledAt, r.Credentials, r.Pattern, r.Transform)
	if errors.Is(err, sql.ErrNoRows) {
		return target{}, fault.Missing("endpoint", t.ID.String())
	}
	if err != nil {
		return target{}, fmt.Errorf("update endpoint: %w", err)
	}
	if err := queue.PutControl(ctx, tx, t.Delivery.control(t.lane())); err != nil {
		return target{}, err
	}
	fresh, err := r.open(box)
	if err != nil {
		return target{}, err
	}
	fresh.Health = t.Health
	return fresh, nil
}

// healthColumns are those of the row of failures, if there is one, and of the breaker.
const healthColumns = `coalesce(h.failures, 0) AS failures, coalesce(h.failing_since, now()) AS failing_since,
	coalesce(h.last_failure_at, now()) AS last_failure_at, coalesce(h.last_error, '') AS last_error, c.closed_until`

// withHealth joins them to endpoints e, each by its primary key. The lane is that of
// queue.EndpointLane.
const withHealth = `
	LEFT JOIN signalstack.endpoint_health AS h ON h.endpoint_id = e.id
	LEFT JOIN signalstack.controls AS c ON c.queue = '' AND c.lane = e.tenant || '/' || e.id`

// rowWithHealth is an endpoint with how it does.
type rowWithHealth struct {
	row
	Failures      int        `db:"failures"`
	FailingSince  time.Time  `db:"failing_since"`
	LastFailureAt time.Time  `db:"last_failure_at"`
	LastError     string     `db:"last_error"`
	ClosedUntil   *time.Time `db:"closed_until"`
}

func (r rowWithHealth) open(box *sealed.Box) (target, error) {
	t, err := r.row.open(box)
	if err != nil {
		return target{}, err
	}
	t.Health = r.health()
	return t, nil
}

// health is what is shown of the failures and the breaker.
func (r rowWithHealth) health() EndpointHealth {
	h := EndpointHealth{State: healthy}
	if r.Failures > 0 {
		since, last := r.FailingSince.UTC(), r.LastFailureAt.UTC()
		h = EndpointHealth{State: broken, Failures: r.Failures, FailingSince: &since, LastFailureAt: &last, LastError: r.LastError}
	}
	switch {
	case r.ClosedUntil == nil:
	case r.ClosedUntil.After(r.Now):
		at := r.ClosedUntil.UTC()
		h.State, h.RetryAt = open, &at
	default:
		h.State = probing
	}
	return h
}

// get gives an endpoint; lock keeps others from changing it until the transaction
// ends.
func get(ctx context.Context, q pg.Querier, box *sealed.Box, id uuid.UUID, lock bool) (target, error) {
	query := `SELECT ` + whole + `, ` + healthColumns + ` FROM signalstack.endpoints AS e` + withHealth + ` WHERE e.id = $1`
	if lock {
		query += ` FOR UPDATE OF e`
	}
	var r rowWithHealth
	err := q.GetContext(ctx, &r, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return target{}, fault.Missing("endpoint", id.String())
	}
	if err != nil {
		return target{}, fmt.Errorf("get endpoint: %w", err)
	}
	return r.open(box)
}

// remove deletes an endpoint and the limits of its lane, in the caller's transaction:
// what waits there is to fail at once.
func remove(ctx context.Context, tx pg.Querier, id uuid.UUID) error {
	var tenant string
	err := tx.GetContext(ctx, &tenant, `DELETE FROM signalstack.endpoints WHERE id = $1 RETURNING tenant`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return fault.Missing("endpoint", id.String())
	}
	if err != nil {
		return fmt.Errorf("delete endpoint: %w", err)
	}
	lane := queue.EndpointLane(tenant, id)
	if err := queue.OpenLane(ctx, tx, lane); err != nil {
		return err
	}
	return queue.PutControl(ctx, tx, queue.Control{Queue: queue.AnyQueue, Lane: lane, Weight: 1})
}

// list gives up to limit endpoints, oldest first, after the given id.
func list(ctx context.Context, q pg.Querier, box *sealed.Box, tenant, after string, limit int) ([]Endpoint, error) {
	var rows []rowWithHealth
	err := q.SelectContext(ctx, &rows, `
		SELECT `+whole+`, `+healthColumns+` FROM signalstack.endpoints AS e`+withHealth+`
		WHERE ($1 = '' OR e.tenant = $1) AND e.id > coalesce(nullif($2, '')::uuid, '00000000-0000-0000-0000-000000000000')
		ORDER BY e.id
		LIMIT $3`, tenant, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	endpoints := make([]Endpoint, len(rows))
	for i, r := range rows {
		t, err := r.open(box)
		if err != nil {
			return nil, err
		}
		endpoints[i] = t.Endpoint
	}
	return endpoints, nil
}

// CheckKey refuses a key that does not open the secrets that are stored, by the
// newest of them.
func (e *Endpoints) CheckKey(ctx context.Context) error {
	var r row
	err := e.DB.GetContext(ctx, &r, `SELECT `+columns+` FROM signalstack.endpoints ORDER BY updated_at DESC LIMIT 1`)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the secret key: %w", err)
	}
	if _, err := r.open(e.Box); errors.Is(err, sealed.ErrOtherKey) {
		return fmt.Errorf("SIGNALSTACK_SECRET_KEY is not the key that the secrets of endpoints were sealed with; set the one they were: %w", err)
	}
	return nil
}

// resealBatch is how many endpoints are locked at once to seal their secrets anew.
const resealBatch = 100

// Reseal brings the secrets of all endpoints under the key that seals now, and says of
// how many. Every process must know that key before one begins to seal with it. The
// error names those that no key opens; they hold up no other.
func (e *Endpoints) Reseal(ctx context.Context) (n int, err error) {
	var closed error
	for after := (uuid.UUID{}); ; {
		var rows []row
		sealedNow := 0
		var failed error
		err := pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error {
			rows, sealedNow, failed = nil, 0, nil
			err := tx.SelectContext(ctx, &rows, `
				SELECT `+columns+` FROM signalstack.endpoints
				WHERE id > $1 AND $2 <> ANY (ARRAY(
				    SELECT substring(kept FOR length($2::bytea)) FROM unnest(ARRAY[secret, headers, old_secrets, credentials]) AS kept WHERE kept IS NOT NULL))
				ORDER BY id LIMIT $3 FOR UPDATE`, after, e.Box.Header(), resealBatch)
			if err != nil {
				return fmt.Errorf("find endpoints to seal anew: %w", err)
			}
			sealedNow, failed, err = e.resealRows(ctx, tx, rows)
			return err
		})
		if err != nil {
			return n, errors.Join(err, closed)
		}
		if n, closed = n+sealedNow, errors.Join(closed, failed); len(rows) == 0 {
			return n, closed
		}
		after = rows[len(rows)-1].ID
	}
}

// resealRows gives in failed why some could not be opened.
func (e *Endpoints) resealRows(ctx context.Context, q pg.Querier, rows []row) (n int, failed, err error) {
	for _, r := range rows {
		t, err := r.open(e.Box)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		fresh, err := t.seal(e.Box)
		if err != nil {
			return n, failed, err
		}
		_, err = q.ExecContext(ctx, `
			UPDATE signalstack.endpoints SET secret = $2, headers = $3, old_secrets = $4, credentials = $5 WHERE id = $1`,
			fresh.ID, fresh.Secret, fresh.Headers, fresh.OldSecrets, fresh.Credentials)
		if err != nil {
			return n, failed, fmt.Errorf("seal the secrets of endpoint %s anew: %w", r.ID, err)
		}
		n++
	}
	return n, failed, nil
}

// Known gives those of the ids that are endpoints of the tenant.
func Known(ctx context.Context, q pg.Querier, tenant string, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	known := map[uuid.UUID]bool{}
	if len(ids) == 0 {
		return known, nil
	}
	texts := make(pq.StringArray, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	var found []uuid.UUID
	err := q.SelectContext(ctx, &found, `SELECT id FROM signalstack.endpoints WHERE tenant = $1 AND id = ANY ($2::uuid[])`, tenant, texts)
	if err != nil {
		return nil, fmt.Errorf("find endpoints: %w", err)
	}
	for _, id := range found {
		known[id] = true
	}
	return known, nil
}
