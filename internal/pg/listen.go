package pg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// listenPing is how often a silent LISTEN connection is tried; without it a dead
// path is never noticed.
const listenPing = 20 * time.Second

// ErrDeaf says that notifications are lost on their way.
var ErrDeaf = errors.New("a pooler in transaction mode takes LISTEN and loses the notifications; " +
	"to have them, name PostgreSQL itself in SIGNALSTACK_DIRECT_DATABASE_URL")

// Listen calls heard for each notification on the channel until ctx ends. After
// every new connection it calls heard with an empty payload: notifications may
// have been missed. It reconnects by itself; what is lost meanwhile is for the
// caller's polling to find. It gives up with ErrDeaf when none can arrive.
func Listen(ctx context.Context, db *DB, channel string, heard func(payload string)) error {
	if err := awaitFirst(ctx, db); err != nil {
		return nil // ctx ended before there was a database
	}
	d := dialer{timeout: 5 * time.Second, readTimeout: 2 * listenPing}
	l := pq.NewDialListener(d, db.listening.listenDSN(), 100*time.Millisecond, 5*time.Second, nil)
	// LISTEN waits for a connection whatever becomes of ctx, but not once it is closed.
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() { _ = l.Close() }()
	err := probe(ctx, db, l)
	if err == nil {
		err = l.Listen(channel)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("listen on %s: %w", channel, err)
	}
	heard("")
	follow(ctx, l, heard)
	return nil
}

// follow passes notifications on until ctx ends.
func follow(ctx context.Context, l *pq.Listener, heard func(payload string)) {
	ping := time.NewTicker(listenPing)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case n, open := <-l.Notify:
			switch {
			case !open: // as ctx has ended
				return
			case n == nil: // a new connection
				heard("")
			default:
				heard(n.Extra)
			}
		case <-ping.C:
			_ = l.Ping() // a failure makes the listener reconnect
		}
	}
}

// awaitFirst waits for the first connection, which settles how to dial.
func awaitFirst(ctx context.Context, db *DB) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := db.listening.Connect(ctx)
		if err == nil {
			_ = conn.Close() // it has served
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

const (
	// probeChannel has a name of its own: behind a pooler the LISTEN stays with some
	// connection of the server, whose next users would be sent what comes there.
	probeChannel = "signalstack_probe"
	probeWait    = 500 * time.Millisecond
	probes       = 4
)

// probe notifies itself, and says ErrDeaf when nothing comes although both sides
// are connected.
func probe(ctx context.Context, db *DB, l *pq.Listener) error {
	if err := l.Listen(probeChannel); err != nil {
		return err
	}
	mine := rand.Text() // others probe as well
	for lost := 0; lost < probes; {
		_, err := db.ExecContext(ctx, `SELECT pg_notify($1, $2)`, probeChannel, mine)
		unknown := err != nil && !IsAway(err)
		switch {
		case unknown || arrives(ctx, l, mine):
			return l.Unlisten(probeChannel)
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && l.Ping() == nil:
			lost++
		}
	}
	return ErrDeaf
}

// arrives waits for a probe.
func arrives(ctx context.Context, l *pq.Listener, payload string) bool {
	wait := time.NewTimer(probeWait)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-wait.C:
			return false
		case n := <-l.Notify:
			if n != nil && n.Extra == payload {
				return true
			}
		}
	}
}
