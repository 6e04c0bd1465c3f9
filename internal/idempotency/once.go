package idempotency

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
)

// onceTries bounds how often a request is tried that loses its key to another one.
const onceTries = 4

// errTaken says that another request committed the same key meanwhile.
var errTaken = errors.New("the idempotency key was taken meanwhile")

// Once runs do in a transaction and gives the body of its answer, which is kept under
// the key for ttl. For a key that stands it gives the first answer instead, and says
// so. A reservation without a key protects nothing.
func Once(ctx context.Context, db *pg.DB, key Reservation, ttl time.Duration, do func(*sqlx.Tx) ([]byte, error)) (body []byte, before bool, err error) {
	for range onceTries {
		err = pg.InTx(ctx, db, func(tx *sqlx.Tx) (err error) {
			before = false
			if key.Key.Key == "" {
				body, err = do(tx)
				return err
			}
			body, before, err = reserved(ctx, tx, key, ttl, do)
			return err
		})
		if !errors.Is(err, errTaken) {
			return body, before, err
		}
	}
	return nil, false, err
}

func reserved(ctx context.Context, tx *sqlx.Tx, key Reservation, ttl time.Duration, do func(*sqlx.Tx) ([]byte, error)) (body []byte, before bool, err error) {
	standing, err := Find(ctx, tx, []Reservation{key})
	if err != nil {
		return nil, false, err
	}
	if found, ok := standing[key.Key]; ok {
		_, body, err := found.Answer(key.Fingerprint)
		return body, true, err
	}
	if key.Answer, err = do(tx); err != nil {
		return nil, false, err
	}
	got, err := Reserve(ctx, tx, []Reservation{key}, ttl)
	if err == nil && !got[key.Key] {
		err = errTaken
	}
	return key.Answer, false, err
}
