package external

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// signer makes the names of leases and reads them. Its key is that of the database.
type signer struct {
	db  *pg.DB
	mu  sync.Mutex
	key []byte
}

const (
	tokenPrefix = "lease_"
	macSize     = 16
	leaseSize   = 8
)

// keyOf gives the key, which is read once.
func (s *signer) keyOf(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		if err := s.db.GetContext(ctx, &s.key, `SELECT key FROM signalstack.lease_keys`); err != nil {
			return nil, fmt.Errorf("read the key of leases: %w", err)
		}
	}
	return s.key, nil
}

// token names a claim to its worker.
func token(key []byte, held queue.Held) string {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, len(held.JobID)+leaseSize+macSize), held.JobID[:]...), uint64(held.Lease)) //nolint:gosec // never negative
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, mac(key, b)...))
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("signalstack lease 1\n"))
	h.Write(text)
	return h.Sum(nil)[:macSize]
}

// errNeverGiven is of a lease that no process gave out, or whose job is long gone.
func errNeverGiven(lease string) *fault.Error {
	if len(lease) > 80 {
		lease = lease[:80] + "..."
	}
	return fault.Missing("lease", lease)
}

// read gives the claim that a token names.
func (s *signer) read(ctx context.Context, lease string) (queue.Held, error) {
	key, err := s.keyOf(ctx)
	if err != nil {
		return queue.Held{}, err
	}
	text, prefixed := strings.CutPrefix(lease, tokenPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	const idSize = len(uuid.UUID{})
	if !prefixed || err != nil || len(b) != idSize+leaseSize+macSize || !hmac.Equal(mac(key, b[:idSize+leaseSize]), b[idSize+leaseSize:]) {
		return queue.Held{}, errNeverGiven(lease)
	}
	return queue.Held{JobID: uuid.UUID(b[:idSize]), Lease: int64(binary.BigEndian.Uint64(b[idSize:]))}, nil //nolint:gosec // as it was made
}
