package keys

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/sealed"
)

// Caller is who sent a request.
type Caller struct {
	Scopes []string
	Tenant string     // the only one that the caller acts for; "": all
	Portal Permission // of a session in the portal, which has no scopes
}

// Has says whether the caller has a scope.
func (c Caller) Has(s Scope) bool {
	return slices.Contains(c.Scopes, string(s)) || slices.Contains(c.Scopes, string(Admin))
}

const (
	maxAge    = 5 * time.Second       // of what is known, when no notification comes
	minGap    = 20 * time.Millisecond // between two looks at the database
	lookTime  = 5 * time.Second       // that one may take
	noteEvery = time.Minute           // the use of a key
)

// Ring holds all keys. It may be shared by goroutines.
type Ring struct {
	db      *pg.DB
	log     *slog.Logger
	admin   []digest // of the configuration
	signing [][]byte // keys of links, the first of which signs
	age     time.Duration

	known atomic.Pointer[known]
	stale atomic.Pointer[time.Time] // what was known at this time is to be looked at again
	used  chan uuid.UUID

	mu     sync.Mutex
	flight *flight
	looks  atomic.Int64
}

// known is all keys at a time.
type known struct {
	version  int64
	byDigest map[digest]*entry
	revoked  map[string]time.Time // when the links of a tenant were
	checked  time.Time            // by the clock of this process
	clock    time.Time            // by that of the database
}

// entry is a key that can be used.
type entry struct {
	id        uuid.UUID
	caller    Caller
	expiresAt *time.Time
	noted     atomic.Int64 // when its use was last noted, in seconds
}

// now is the database's clock.
func (k *known) now() time.Time { return k.clock.Add(time.Since(k.checked)) }

// flight is a look at the database, which all wait for that need one.
type flight struct {
	done  chan struct{}
	began time.Time
	known *known
	err   error
}

// NewRing makes a ring with the admin key of the configuration, which may be "", and the
// secret key, of which the keys of links are derived.
func NewRing(db *pg.DB, adminKey, secretKey string, log *slog.Logger) (*Ring, error) {
	r := &Ring{db: db, log: log, age: maxAge, used: make(chan uuid.UUID, 64)}
	if adminKey != "" {
		r.admin = []digest{digestOf(adminKey)}
	}
	if secretKey != "" {
		var err error
		if r.signing, err = sealed.Derive(secretKey, purpose); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// On says whether requests need credentials.
func (r *Ring) On() bool { return len(r.admin) > 0 }

// Credentials that are refused are refused alike, whatever is wrong with them.
var errUnknown = fault.New(fault.Unauthorized, "invalid_key",
	"The credentials are not known here, or they have expired or were revoked.")

var errNone = fault.New(fault.Unauthorized, "no_key",
	"This server needs an API key; send it as Authorization: Bearer KEY.")

// Caller tells who holds a token.
func (r *Ring) Caller(ctx context.Context, token string) (Caller, error) {
	sum := digestOf(token)
	for _, admin := range r.admin {
		if subtle.ConstantTimeCompare(sum[:], admin[:]) == 1 {
			return Caller{Scopes: []string{string(Admin)}}, nil
		}
	}
	switch {
	case token == "":
		return Caller{}, errNone
	case strings.HasPrefix(token, linkMark):
		return r.visitor(ctx, token)
	case !looksLikeKey(token):
		return Caller{}, errUnknown
	}
	asked := time.Now()
	k, err := r.fresh(ctx, r.since(asked))
	if err != nil {
		return Caller{}, err
	}
	e := k.byDigest[sum]
	if e == nil { // made a moment ago, perhaps
		if k, err = r.fresh(ctx, asked); err != nil {
			return Caller{}, err
		}
		e = k.byDigest[sum]
	}
	if e == nil || e.expiresAt != nil && !k.now().Before(*e.expiresAt) {
		return Caller{}, errUnknown
	}
	r.note(e, asked)
	return e.caller, nil
}

// visitor tells who came by a link.
func (r *Ring) visitor(ctx context.Context, token string) (Caller, error) {
	s, ok := readSession(r.signing, token)
	if !ok {
		return Caller{}, errUnknown
	}
	k, err := r.fresh(ctx, r.since(time.Now()))
	if err != nil {
		return Caller{}, err
	}
	revoked, was := k.revoked[s.Tenant]
	if k.now().UnixMicro() >= s.EndsAt || was && s.MadeAt <= revoked.UnixMicro() {
		return Caller{}, errUnknown
	}
	return Caller{Tenant: s.Tenant, Portal: s.Permission}, nil
}

// since gives the time after which what is known must have been looked at.
func (r *Ring) since(now time.Time) time.Time {
	since := now.Add(-r.age)
	if stale := r.stale.Load(); stale != nil && stale.After(since) {
		return *stale
	}
	return since
}

// outdate makes the next request look at the database.
func (r *Ring) outdate() {
	now := time.Now()
	r.stale.Store(&now)
}

// fresh gives what was known after a time. All that wait share one look, and one failure.
func (r *Ring) fresh(ctx context.Context, since time.Time) (*known, error) {
	for {
		if k := r.known.Load(); k != nil && k.checked.After(since) {
			return k, nil
		}
		f := r.board(ctx)
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if f.err != nil {
			return nil, f.err
		}
		if f.began.After(since) { // else it began too early
			return f.known, nil
		}
	}
}

// board gives the look that is under way, or begins one, some time after the one before.
func (r *Ring) board(ctx context.Context) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		return r.flight
	}
	f := &flight{done: make(chan struct{})}
	r.flight = f
	wait := time.Duration(0)
	before := r.known.Load()
	if before != nil {
		wait = max(0, minGap-time.Since(before.checked))
	}
	// It serves those who come later too: the end of this request must not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	time.AfterFunc(wait, func() {
		defer cancel()
		r.look(ctx, f, before)
	})
	return f
}

// look looks at the database.
func (r *Ring) look(ctx context.Context, f *flight, before *known) {
	f.began = time.Now()
	f.known, f.err = load(ctx, r.db, before)
	r.looks.Add(1)
	if f.err == nil {
		f.known.checked = f.began
		r.known.Store(f.known)
	}
	r.mu.Lock()
	r.flight = nil
	r.mu.Unlock()
	close(f.done)
}

// note has the use of a key written down, now and then.
func (r *Ring) note(e *entry, now time.Time) {
	before := e.noted.Load()
	if now.Unix()-before < int64(noteEvery/time.Second) || !e.noted.CompareAndSwap(before, now.Unix()) {
		return
	}
	select {
	case r.used <- e.id:
	default:
		e.noted.Store(before) // next time
	}
}

// Run hears of changes and notes the use of keys until ctx ends.
func (r *Ring) Run(ctx context.Context, listen *pg.DB) {
	var hearing sync.WaitGroup
	hearing.Go(func() {
		err := pg.Listen(ctx, listen, channel, func(string) { r.outdate() })
		switch {
		case errors.Is(err, pg.ErrDeaf):
			r.log.WarnContext(ctx, "revoked keys end within seconds and not at once", "after", r.age, "error", err)
		case err != nil:
			r.log.ErrorContext(ctx, "changes of keys are not heard of; they are looked for", "every", r.age, "error", err)
		}
	})
	defer hearing.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-r.used:
			if err := noteUse(ctx, r.db, id); err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "the use of a key was not noted", "key_id", id, "error", err)
			}
		}
	}
}
