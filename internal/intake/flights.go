package intake

import (
	"crypto/sha256"
	"sync"

	"github.com/signalstack/signalstack/internal/idempotency"
)

// flights are the idempotency keys of the requests of this process that are being
// worked on, with the fingerprints of their bodies. Those of other processes are
// found by the database.
type flights struct {
	mu   sync.Mutex
	keys map[idempotency.Key][sha256.Size]byte
}

// board takes the keys of a request. Whoever took one before is ahead of it: an item
// with such a key is refused, and so is the request when the key is its own.
func (r *Request[T]) board(f *flights) error {
	if !r.hasKeys() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys == nil {
		f.keys = map[idempotency.Key][sha256.Size]byte{}
	}
	own := map[idempotency.Key]bool{}
	take := func(k idempotency.Reservation) error {
		if k.Waits || own[k.Key] {
			return nil
		}
		if sum, taken := f.keys[k.Key]; taken {
			if sum != k.Fingerprint {
				return idempotency.ErrMismatch
			}
			return idempotency.ErrInFlight
		}
		f.keys[k.Key], own[k.Key] = k.Fingerprint, true
		r.boarded = append(r.boarded, k.Key)
		return nil
	}
	if r.Key != nil {
		if err := take(*r.Key); err != nil {
			return err
		}
	}
	for _, item := range r.Items {
		if item.Refusal != nil {
			continue
		}
		for _, k := range item.Keys {
			if err := take(k); err != nil {
				item.Refusal = err
				break
			}
		}
	}
	return nil
}

func (r *Request[T]) hasKeys() bool {
	if r.Key != nil {
		return true
	}
	for _, item := range r.Items {
		if len(item.Keys) > 0 {
			return true
		}
	}
	return false
}

// land gives the keys of a request free, once it is known what became of it.
func (r *Request[T]) land(f *flights) {
	if len(r.boarded) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range r.boarded {
		delete(f.keys, k)
	}
	r.boarded = nil
}
