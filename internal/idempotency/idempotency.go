package idempotency

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// MaxKey is the longest key, in bytes.
const MaxKey = 255

// Key names one reservation.
type Key struct {
	Tenant string
	Scope  string
	Key    string
}

// Reservation is a key with what it protects.
type Reservation struct {
	Key
	Fingerprint [sha256.Size]byte
	// Waits says that whoever comes with the key while the first is in flight waits
	// for it and shares its answer, instead of being told to come again.
	Waits bool
	// Status and Answer are the HTTP status and body of the first answer: of Reserve,
	// and not looked at by Find.
	Status int
	Answer []byte
}

// Fingerprint is what two bodies are compared by.
func Fingerprint(body []byte) [sha256.Size]byte { return sha256.Sum256(body) }

// ErrMismatch refuses a key that was used with another body.
var ErrMismatch = fault.New(fault.Invalid, "idempotency_key_reused",
	"This idempotency key was used with another body. Send the first body again, or a new key.")

// ErrInFlight refuses a key whose first request is still being worked on
// (draft-ietf-httpapi-idempotency-key-header, section 2.6).
var ErrInFlight = &fault.Error{
	Kind: fault.Conflict, Code: "idempotency_key_in_flight", RetryAfter: time.Second,
	Message: "The first request with this idempotency key is still being worked on. Send it again later to get its answer.",
}

// Check says what is wrong with a key, or "".
func Check(key string) string {
	switch {
	case key == "":
		return "must not be empty; leave it out to go without"
	case len(key) > MaxKey:
		return fmt.Sprintf("must have at most %d bytes", MaxKey)
	case !utf8.ValidString(key) || strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return "must not hold control characters"
	}
	return ""
}

// FromHeader reads an Idempotency-Key header: an RFC 8941 string in quotes, or
// bare as most clients send it; both are the same key.
func FromHeader(value string) string {
	value = strings.TrimSpace(value)
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : len(value)-1])
	}
	return value
}

// maxClaims bounds the locks that one transaction takes for its keys: all of a
// server share a table of some thousands.
const maxClaims = 256

// Find gives the reservations that stand among the wanted ones, and those that
// another transaction is about to make. Keys without a reservation are missing.
//
// A transaction that would insert a key that another has inserted and not committed
// waits for it. To answer instead, each key is claimed by a lock that lasts as long
// as the transaction, and one that somebody else has claimed is in flight. Keys that
// wait are not claimed, and neither are those of a transaction beyond the first
// maxClaims: whoever comes with one of them meanwhile waits in Reserve.
func Find(ctx context.Context, q pg.Querier, wanted []Reservation) (map[Key]Found, error) {
	found := map[Key]Found{}
	if len(wanted) == 0 {
		return found, nil
	}
	tenants, scopes, keys := columns(wanted)
	locks, claims := make(pq.Int64Array, len(wanted)), 0
	for i, w := range wanted {
		if !w.Waits && claims < maxClaims {
			locks[i] = w.lock()
			claims++
		}
	}
	var rows []struct {
		Tenant      string
		Scope       string
		Key         string
		Claimed     bool
		Fingerprint []byte
		Status      int
		Answer      []byte
	}
	// By the primary key, once for each key. A lock that is not to be had is not
	// waited for, so that claims cannot wait for each other in a circle.
	err := q.SelectContext(ctx, &rows, `
		WITH w AS MATERIALIZED (
		    SELECT tenant, scope, key, lock = 0 OR pg_try_advisory_xact_lock(lock) AS claimed
		    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS w (tenant, scope, key, lock)
		)
		SELECT w.tenant, w.scope, w.key, k.tenant IS NOT NULL OR w.claimed AS claimed, k.fingerprint, coalesce(k.status, 0) AS status, k.answer
		FROM w LEFT JOIN signalstack.idempotency_keys AS k ON (k.tenant, k.scope, k.key) = (w.tenant, w.scope, w.key) AND k.expires_at > now()
		WHERE k.tenant IS NOT NULL OR NOT w.claimed`, tenants, scopes, keys, locks)
	if err != nil {
		return nil, fmt.Errorf("find idempotency keys: %w", err)
	}
	for _, r := range rows {
		found[Key{r.Tenant, r.Scope, r.Key}] = Found{inFlight: !r.Claimed, fingerprint: r.Fingerprint, status: r.Status, answer: r.Answer}
	}
	return found, nil
}

// lock is the number of the advisory lock that claims the key; never 0.
func (k Key) lock() int64 {
	sum := sha256.Sum256([]byte("idempotency\x00" + k.Tenant + "\x00" + k.Scope + "\x00" + k.Key))
	return int64(binary.BigEndian.Uint64(sum[:]) | 1) //nolint:gosec // any 64 bits will do
}

// Found is a reservation that stands, or is about to.
type Found struct {
	inFlight    bool
	fingerprint []byte
	status      int
	answer      []byte
}

// Answer gives the status and body of the first answer to the same body,
// ErrMismatch to another one, and ErrInFlight when there is no answer yet.
func (f Found) Answer(fingerprint [sha256.Size]byte) (status int, body []byte, err error) {
	switch {
	case f.inFlight:
		return 0, nil, ErrInFlight
	case !bytes.Equal(f.fingerprint, fingerprint[:]):
		return 0, nil, ErrMismatch
	}
	return f.status, f.answer, nil
}

// Reserve takes keys for ttl and gives those it got. A key it did not get was
// taken by a transaction that has committed since. The keys must differ.
func Reserve(ctx context.Context, q pg.Querier, wanted []Reservation, ttl time.Duration) (map[Key]bool, error) {
	got := map[Key]bool{}
	if len(wanted) == 0 {
		return got, nil
	}
	tenants, scopes, keys := columns(wanted)
	prints, answers, statuses := make(pq.ByteaArray, len(wanted)), make(pq.ByteaArray, len(wanted)), make(pq.Int64Array, len(wanted))
	for i, w := range wanted {
		prints[i], answers[i], statuses[i] = w.Fingerprint[:], w.Answer, int64(w.Status)
	}
	var rows []struct{ Tenant, Scope, Key string }
	// In the order of the primary key, so that two batches cannot wait for each
	// other in a circle. An expired row is taken over in place.
	err := q.SelectContext(ctx, &rows, `
		INSERT INTO signalstack.idempotency_keys AS k (tenant, scope, key, fingerprint, status, answer, expires_at)
		SELECT tenant, scope, key, fingerprint, status, answer, now() + $7 * interval '1 millisecond'
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::bytea[]) AS w (tenant, scope, key, fingerprint, status, answer)
		ORDER BY tenant, scope, key
		ON CONFLICT (tenant, scope, key) DO UPDATE
		SET fingerprint = excluded.fingerprint, status = excluded.status, answer = excluded.answer, expires_at = excluded.expires_at
		WHERE k.expires_at <= now()
		RETURNING tenant, scope, key`, tenants, scopes, keys, prints, statuses, answers, ttl.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("reserve idempotency keys: %w", err)
	}
	for _, r := range rows {
		got[Key(r)] = true
	}
	return got, nil
}

func columns(wanted []Reservation) (tenants, scopes, keys pq.StringArray) {
	for _, w := range wanted {
		tenants, scopes, keys = append(tenants, w.Tenant), append(scopes, w.Scope), append(keys, w.Key.Key)
	}
	return tenants, scopes, keys
}

// Sweeper deletes expired keys.
type Sweeper struct {
	DB       *pg.DB
	Log      *slog.Logger
	Interval time.Duration
}

// sweepBatch bounds one DELETE, so that it blocks nobody for long.
const sweepBatch = 5000

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(s.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := Sweep(ctx, s.DB); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "expired idempotency keys could not be deleted", "error", err)
		}
	}
}

// Sweep deletes all keys that have expired.
func Sweep(ctx context.Context, q pg.Querier) error {
	for {
		res, err := q.ExecContext(ctx, `
			DELETE FROM signalstack.idempotency_keys
			WHERE ctid = ANY (ARRAY(
			    SELECT ctid FROM signalstack.idempotency_keys WHERE expires_at <= now()
			    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))`, sweepBatch)
		if err != nil {
			return fmt.Errorf("sweep idempotency keys: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n < sweepBatch {
			return err
		}
	}
}
