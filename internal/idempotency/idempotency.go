package idempotency

import (
	"bytes"
	"context"
	"crypto/sha256"
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
	Answer      []byte // of Reserve; nil for Find
}

// Fingerprint is what two bodies are compared by.
func Fingerprint(body []byte) [sha256.Size]byte { return sha256.Sum256(body) }

// ErrMismatch refuses a key that was used with another body.
var ErrMismatch = fault.New(fault.Invalid, "idempotency_key_reused",
	"This idempotency key was used with another body. Send the first body again, or a new key.")

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

// Find gives the answers of keys that stand, and ErrMismatch in place of an answer
// that belongs to another body. Keys without a reservation are missing.
func Find(ctx context.Context, q pg.Querier, wanted []Reservation) (map[Key]Found, error) {
	found := map[Key]Found{}
	if len(wanted) == 0 {
		return found, nil
	}
	tenants, scopes, keys := columns(wanted)
	var rows []struct {
		Tenant      string
		Scope       string
		Key         string
		Fingerprint []byte
		Answer      []byte
	}
	err := q.SelectContext(ctx, &rows, `
		SELECT k.tenant, k.scope, k.key, k.fingerprint, k.answer
		FROM unnest($1::text[], $2::text[], $3::text[]) AS w (tenant, scope, key)
		JOIN signalstack.idempotency_keys AS k ON (k.tenant, k.scope, k.key) = (w.tenant, w.scope, w.key)
		WHERE k.expires_at > now()`, tenants, scopes, keys)
	if err != nil {
		return nil, fmt.Errorf("find idempotency keys: %w", err)
	}
	for _, r := range rows {
		found[Key{r.Tenant, r.Scope, r.Key}] = Found{fingerprint: r.Fingerprint, answer: r.Answer}
	}
	return found, nil
}

// Found is a reservation that stands.
type Found struct{ fingerprint, answer []byte }

// Answer gives the first answer to the same body and ErrMismatch to another.
func (f Found) Answer(fingerprint [sha256.Size]byte) ([]byte, error) {
	if !bytes.Equal(f.fingerprint, fingerprint[:]) {
		return nil, ErrMismatch
	}
	return f.answer, nil
}

// Reserve takes keys for ttl and gives those it got. A key it did not get was
// taken by a transaction that has committed since. The keys must differ.
func Reserve(ctx context.Context, q pg.Querier, wanted []Reservation, ttl time.Duration) (map[Key]bool, error) {
	got := map[Key]bool{}
	if len(wanted) == 0 {
		return got, nil
	}
	tenants, scopes, keys := columns(wanted)
	prints, answers := make(pq.ByteaArray, len(wanted)), make(pq.ByteaArray, len(wanted))
	for i, w := range wanted {
		prints[i], answers[i] = w.Fingerprint[:], w.Answer
	}
	var rows []struct{ Tenant, Scope, Key string }
	// In the order of the primary key, so that two batches cannot wait for each
	// other in a circle. An expired row is taken over in place.
	err := q.SelectContext(ctx, &rows, `
		INSERT INTO signalstack.idempotency_keys AS k (tenant, scope, key, fingerprint, answer, expires_at)
		SELECT tenant, scope, key, fingerprint, answer, now() + $6 * interval '1 millisecond'
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[]) AS w (tenant, scope, key, fingerprint, answer)
		ORDER BY tenant, scope, key
		ON CONFLICT (tenant, scope, key) DO UPDATE
		SET fingerprint = excluded.fingerprint, answer = excluded.answer, expires_at = excluded.expires_at
		WHERE k.expires_at <= now()
		RETURNING tenant, scope, key`, tenants, scopes, keys, prints, answers, ttl.Milliseconds())
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
