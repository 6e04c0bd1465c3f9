package queue

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
)

// partitioned are the tables whose key is a UUIDv7 and which have one partition a
// day.
var partitioned = []string{"events", "jobs", "attempts"}

// partitionsAhead is how many days beyond today have partitions.
const partitionsAhead = 3

// EnsurePartitions makes the partitions of the day of each time, for all tables.
// Callers make ids with their own clock, so an insert that finds no partition
// calls this with the time of its ids and tries again.
func EnsurePartitions(ctx context.Context, db *pg.DB, times ...time.Time) error {
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		// One process at a time; the others find the work done.
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('signalstack partitions'))`); err != nil {
			return err
		}
		for _, t := range times {
			for _, table := range partitioned {
				if err := ensurePartition(ctx, tx, table, t.UTC().Truncate(24*time.Hour)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

func ensurePartition(ctx context.Context, tx *sqlx.Tx, table string, day time.Time) error {
	name := fmt.Sprintf("signalstack.%s_%s", table, day.Format("20060102"))
	var exists bool
	if err := tx.GetContext(ctx, &exists, `SELECT to_regclass($1) IS NOT NULL`, name); err != nil || exists {
		return err
	}
	// ATTACH lets readers and writers of the other partitions go on; CREATE TABLE
	// ... PARTITION OF would lock them all out.
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`
		CREATE TABLE %[1]s (LIKE signalstack.%[2]s INCLUDING ALL);
		ALTER TABLE signalstack.%[2]s ATTACH PARTITION %[1]s FOR VALUES FROM ('%[3]s') TO ('%[4]s')`,
		name, table, FirstID(day), FirstID(day.Add(24*time.Hour))))
	return err
}

// FirstID is the smallest UUID whose first 48 bits are t in milliseconds (RFC
// 9562, section 5.7).
func FirstID(t time.Time) uuid.UUID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(t.UnixMilli())<<16)
	var id uuid.UUID
	copy(id[:6], b[:6])
	return id
}

// IDTime gives the time inside a UUIDv7.
func IDTime(id uuid.UUID) time.Time {
	var b [8]byte
	copy(b[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:]))) //nolint:gosec // 48 bits fit
}

// Partitioner makes partitions ahead of time.
type Partitioner struct {
	DB  *pg.DB
	Log *slog.Logger
}

// Run makes the partitions of today and the next days, then looks again every
// hour until ctx ends.
func (p *Partitioner) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := EnsureAhead(ctx, p.DB); err != nil && ctx.Err() == nil {
			p.Log.WarnContext(ctx, "partitions could not be made ahead", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// EnsureAhead makes the partitions of today and the next days by the database's
// clock.
func EnsureAhead(ctx context.Context, db *pg.DB) error {
	var now time.Time
	if err := db.GetContext(ctx, &now, `SELECT now()`); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	days := make([]time.Time, 0, partitionsAhead+1)
	for d := range partitionsAhead + 1 {
		days = append(days, now.AddDate(0, 0, d))
	}
	return EnsurePartitions(ctx, db, days...)
}
