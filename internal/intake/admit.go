package intake

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/idempotency"
)

// errKeyTaken says that another process committed one of our keys meanwhile; the
// transaction is run again and finds it.
var errKeyTaken = errors.New("an idempotency key was taken meanwhile")

// admit decides for each item whether it is fresh, a replay or refused, and gives
// the requests that must wait for another of this batch with the same key.
func admit[T any](ctx context.Context, tx *sqlx.Tx, requests []*Request[T]) (map[*Request[T]]bool, error) {
	var wanted []idempotency.Reservation
	for _, r := range requests {
		for _, item := range r.Items {
			wanted = append(wanted, item.Keys...)
		}
	}
	found, err := idempotency.Find(ctx, tx, wanted)
	if err != nil {
		return nil, err
	}
	postponed := map[*Request[T]]bool{}
	taken := map[idempotency.Key]bool{}
	for _, r := range requests {
		if r.match(found) {
			continue
		}
		if r.collides(taken) {
			postponed[r] = true
			for _, item := range r.Items {
				item.verdict = undecided
			}
		}
	}
	return postponed, nil
}

// match decides what stored keys decide. It says true when the request is refused,
// so that nothing of it is written.
func (r *Request[T]) match(found map[idempotency.Key]idempotency.Found) bool {
	var refusal error
	for i, item := range r.Items {
		item.verdict = fresh
		for _, k := range item.Keys {
			stored, ok := found[k.Key]
			if !ok {
				continue
			}
			item.verdict = replayed
			if item.answer, item.err = stored.Answer(k.Fingerprint); item.err != nil {
				item.verdict, refusal = refused, r.at(i, item.err)
				break
			}
		}
	}
	if refusal == nil {
		return false
	}
	for _, item := range r.Items {
		item.verdict, item.err = refused, refusal
	}
	return true
}

// at says which item of an array a fault is about.
func (r *Request[T]) at(i int, err error) error {
	f := fault.As(err)
	if f == nil || !r.Array {
		return err
	}
	about := *f
	about.Details = []fault.Detail{{Pointer: "/" + strconv.Itoa(i), Detail: "was sent before under the same key with another body"}}
	return &about
}

// maxRefusals bounds the mistakes that are told of one request.
const maxRefusals = 100

// refuse refuses a request that has a fresh item which may not be written. What was
// accepted before is answered as before, whatever has changed since.
func (r *Request[T]) refuse(why func(T) error) {
	var refusal error
	var details []fault.Detail
	for i, item := range r.Items {
		if item.verdict != fresh || len(details) >= maxRefusals {
			continue
		}
		err := why(item.Value)
		if err == nil {
			continue
		}
		if refusal == nil {
			refusal = err
		}
		if f := fault.As(err); f != nil {
			details = append(details, r.below(i, f.Details)...)
		}
	}
	if refusal == nil {
		return
	}
	if f := fault.As(refusal); f != nil {
		about := *f
		about.Details = details
		refusal = &about
	}
	for _, item := range r.Items {
		item.verdict, item.err = refused, refusal
	}
}

// below gives mistakes of item i with pointers from the body.
func (r *Request[T]) below(i int, details []fault.Detail) []fault.Detail {
	if !r.Array {
		return details
	}
	moved := make([]fault.Detail, len(details))
	for j, d := range details {
		moved[j] = fault.Detail{Pointer: "/" + strconv.Itoa(i) + d.Pointer, Detail: d.Detail}
	}
	return moved
}

// collides takes the keys of the fresh items, or says that one is taken.
func (r *Request[T]) collides(taken map[idempotency.Key]bool) bool {
	var keys []idempotency.Key
	for _, item := range r.Items {
		if item.verdict != fresh {
			continue
		}
		for _, k := range item.Keys {
			if taken[k.Key] {
				return true
			}
			keys = append(keys, k.Key)
		}
		if item.Alone != (idempotency.Key{}) {
			if taken[item.Alone] {
				return true
			}
			keys = append(keys, item.Alone)
		}
	}
	for _, k := range keys {
		taken[k] = true
	}
	return false
}

func reserve(ctx context.Context, tx *sqlx.Tx, wanted []idempotency.Reservation, ttl time.Duration) error {
	got, err := idempotency.Reserve(ctx, tx, wanted, ttl)
	if err != nil {
		return err
	}
	for _, k := range wanted {
		if !got[k.Key] {
			return errKeyTaken
		}
	}
	return nil
}
