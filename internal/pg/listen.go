package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// listenPing is how often a silent LISTEN connection is tried; without it a dead
// path is never noticed.
const listenPing = 20 * time.Second

// Listen calls heard for each notification on the channel until ctx ends. After
// every new connection it calls heard with an empty payload: notifications may
// have been missed. It reconnects by itself; what is lost meanwhile is for the
// caller's polling to find.
func Listen(ctx context.Context, db *DB, channel string, heard func(payload string)) error {
	if err := awaitFirst(ctx, db); err != nil {
		return nil // ctx ended before there was a database
	}
	d := dialer{timeout: 5 * time.Second, readTimeout: 2 * listenPing}
	l := pq.NewDialListener(d, db.connector.listenDSN(), 100*time.Millisecond, 5*time.Second, nil)
	defer func() { _ = l.Close() }()
	if err := l.Listen(channel); err != nil {
		return fmt.Errorf("listen on %s: %w", channel, err)
	}
	heard("")
	ping := time.NewTicker(listenPing)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-l.Notify:
			if n == nil { // a new connection
				heard("")
				continue
			}
			heard(n.Extra)
		case <-ping.C:
			_ = l.Ping() // a failure makes the listener reconnect
		}
	}
}

// awaitFirst waits for the first connection, which settles how to dial.
func awaitFirst(ctx context.Context, db *DB) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for db.PingContext(ctx) != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
