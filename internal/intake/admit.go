package intake

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

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
		if r.Key != nil {
			wanted = append(wanted, *r.Key)
		}
		for _, item := range r.Items {
			if item.Refusal == nil {
				wanted = append(wanted, item.Keys...)
			}
		}
	}
	found, err := idempotency.Find(ctx, tx, wanted)
	if err != nil {
		return nil, err
	}
	postponed := map[*Request[T]]bool{}
	taken := map[idempotency.Key]bool{}
	for _, r := range requests {
		r.match(found)
		if !r.settled() && r.collides(taken) {
			postponed[r] = true
			r.reset()
		}
	}
	return postponed, nil
}

// match decides what stored keys decide, and what the items of the request do to
// each other.
func (r *Request[T]) match(found map[idempotency.Key]idempotency.Found) {
	if r.Key != nil {
		if stored, ok := found[r.Key.Key]; ok {
			status, body, err := stored.Answer(r.Key.Fingerprint)
			if err != nil {
				r.err = err
				return
			}
			r.reply = &Reply{Status: status, Body: body, Replayed: true}
			return
		}
	}
	before := map[idempotency.Key]earlier[T]{}
	for _, item := range r.Items {
		item.match(found)
		if item.verdict == fresh {
			item.repeats(before)
		}
	}
	r.refuse()
}

func (item *Item[T]) match(found map[idempotency.Key]idempotency.Found) {
	if item.Refusal != nil {
		item.verdict, item.err = refused, item.Refusal
		return
	}
	item.verdict = fresh
	for _, k := range item.Keys {
		stored, ok := found[k.Key]
		if !ok {
			continue
		}
		item.verdict = replayed
		if item.status, item.answer, item.err = stored.Answer(k.Fingerprint); item.err != nil {
			item.verdict = refused
			return
		}
	}
}

// earlier is the item that used a key first, with what it was.
type earlier[T any] struct {
	item *Item[T]
	key  idempotency.Reservation
}

// repeats looks for the keys of a fresh item among those of the items before it: it
// says the same again, or something else under the same key.
func (item *Item[T]) repeats(before map[idempotency.Key]earlier[T]) {
	for _, k := range item.Keys {
		first, ok := before[k.Key]
		if !ok {
			continue
		}
		if first.key.Fingerprint != k.Fingerprint {
			item.verdict, item.err = refused, idempotency.ErrMismatch
			return
		}
		item.verdict, item.same = repeated, first.item
	}
	if item.verdict != fresh {
		return
	}
	for _, k := range item.Keys {
		before[k.Key] = earlier[T]{item, k}
	}
}

// refuseFresh refuses fresh items that may not be written, and with them those that
// say the same again. What was accepted before is answered as before, whatever has
// changed since.
func (r *Request[T]) refuseFresh(why func(T) error) {
	if r.settled() {
		return
	}
	found := false
	for _, item := range r.Items {
		switch {
		case item.verdict == fresh:
			item.err = why(item.Value)
		case item.verdict == repeated:
			item.err = item.same.err
		default:
			continue
		}
		if item.err != nil {
			item.verdict, found = refused, true
		}
	}
	if found {
		r.refuse()
	}
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
