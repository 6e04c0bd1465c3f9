package queue

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

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
	name := partitionName(table, day)
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

// dayFormat ends the name of a partition.
const dayFormat = "20060102"

func partitionName(table string, day time.Time) string {
	return "signalstack." + table + "_" + day.Format(dayFormat)
}

// partitionDay is a day and the tables that have a partition for it.
type partitionDay struct {
	day    time.Time
	tables map[string]bool
}

// partitionDays lists the days that have partitions, the oldest first.
func partitionDays(ctx context.Context, q pg.Querier) ([]partitionDay, error) {
	var rows []struct{ Parent, Suffix string }
	err := q.SelectContext(ctx, &rows, `
		SELECT p.relname AS parent, substr(c.relname, length(p.relname) + 2) AS suffix
		FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid JOIN pg_class AS p ON p.oid = i.inhparent
		WHERE p.relnamespace = 'signalstack'::regnamespace AND p.relname = ANY ($1)
		ORDER BY suffix`, pq.StringArray(partitioned))
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	var days []partitionDay
	for _, r := range rows {
		day, err := time.Parse(dayFormat, r.Suffix)
		if err != nil {
			continue // made by hand
		}
		if len(days) == 0 || !days[len(days)-1].day.Equal(day) {
			days = append(days, partitionDay{day, map[string]bool{}})
		}
		days[len(days)-1].tables[r.Parent] = true
	}
	return days, nil
}

// FirstID is the smallest UUID whose first 48 bits are t in milliseconds (RFC
// 9562, section 5.7). Before 1970 it is that of 1970, as ids tell no earlier time.
func FirstID(t time.Time) uuid.UUID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(0, t.UnixMilli()))<<16)
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
	now, err := pg.Now(ctx, db)
	if err != nil {
		return err
	}
	days := make([]time.Time, 0, partitionsAhead+1)
	for d := range partitionsAhead + 1 {
		days = append(days, now.AddDate(0, 0, d))
	}
	return EnsurePartitions(ctx, db, days...)
}

// watch has the keys of a partition's new and changed rows noted from now on, and forgets those
// noted before. Nothing else finds such rows without reading all of them under the
// lock: attempts have no index by time. The trigger goes with its partition. Left
// behind by a pass that was killed it costs a worker next to nothing, and the next
// pass goes on with it.
func watch(ctx context.Context, db *pg.DB, table string, day time.Time) error {
	name := partitionName(table, day)
	err := alone(ctx, db, name, func(tx *sqlx.Tx) error {
		watched, err := isWatched(ctx, tx, name)
		if err != nil {
			return err
		}
		if watched {
			_, err = tx.ExecContext(ctx, `DELETE FROM `+name+`_late`)
			return err
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf(`
			DROP TABLE IF EXISTS %[1]s_late;
			CREATE TABLE %[1]s_late (key uuid NOT NULL);
			DROP TRIGGER IF EXISTS note_late ON %[1]s;
			CREATE TRIGGER note_changes AFTER INSERT OR UPDATE ON %[1]s FOR EACH ROW EXECUTE FUNCTION signalstack.note_late('%[2]s')`, name, keyOf(table)))
		return err
	})
	if err != nil {
		return fmt.Errorf("watch partition: %w", err)
	}
	return nil
}

func isWatched(ctx context.Context, q pg.Querier, name string) (bool, error) {
	var watched bool
	err := q.GetContext(ctx, &watched, `SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::regclass AND tgname = 'note_changes')`, name)
	return watched, err
}

const (
	// lockWait is how long everybody may have to wait behind the lock on a table
	// before it is given up, and lockHold how long it is held at most: together less
	// than a second.
	lockWait = 300 * time.Millisecond
	lockHold = 600 * time.Millisecond
	// lockTries bounds how often the lock is asked for, lockPause apart, before the
	// copy is thrown away.
	lockTries = 5
	lockPause = time.Second
	// ownWait is how long an autovacuum may take to notice that it is to give way.
	// Readers and writers do not wait behind this.
	ownWait = 4 * time.Second
)

// alone runs f in a transaction while no other retention runs, and no vacuum of the
// partition begins. Readers and writers go on.
func alone(ctx context.Context, db *pg.DB, name string, f func(*sqlx.Tx) error) error {
	return pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		var mine bool
		if err := tx.GetContext(ctx, &mine, `SELECT pg_try_advisory_xact_lock(hashtext('signalstack retention'))`); err != nil {
			return fmt.Errorf("lock retention: %w", err)
		}
		if !mine {
			return errInUse
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf(`
			SET LOCAL lock_timeout = %d;
			LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE;
			SET LOCAL lock_timeout = %d`, ownWait.Milliseconds(), name, lockWait.Milliseconds()))
		if err != nil {
			return fmt.Errorf("lock partition: %w", err)
		}
		return f(tx)
	})
}

// drop drops the partition, unless something came that must be kept.
func (p part) drop(ctx context.Context, db *pg.DB) error {
	return p.exchange(ctx, db, func(*sqlx.Tx) error { return nil }, func(ctx context.Context, tx *sqlx.Tx) error {
		first, err := p.isFirst(ctx, tx)
		if err != nil {
			return err
		}
		late, err := p.latecomers(ctx, tx, "")
		if err != nil {
			return err
		}
		if !first || len(late) > 0 {
			return errInUse
		}
		return p.dropOld(ctx, tx)
	})
}

// rewrite puts a new table with what is to be kept in the place of the partition.
// All is one transaction, so that a kill leaves nothing behind. What was added
// while the rows were copied is copied under the lock: measured with 300,000 jobs
// of which 30,000 live, the lock is held for 50 ms. A CHECK like the bounds spares
// the new partition a scan then.
//
// Statements wait for the lock before they take their snapshot, so they see one
// table or the other. A transaction with an older snapshot (REPEATABLE READ) that
// did not touch the table before sees none of the copied rows.
func (p part) rewrite(ctx context.Context, db *pg.DB, rows int) error {
	next := p.name() + "_next"
	return p.exchange(ctx, db, func(tx *sqlx.Tx) error {
		return p.copyKept(ctx, tx, next, rows)
	}, func(ctx context.Context, tx *sqlx.Tx) error {
		late, err := p.latecomers(ctx, tx, next)
		if err != nil {
			return err
		}
		// Copied anew as well what was copied before and has been erased since.
		if _, err = tx.ExecContext(ctx, fmt.Sprintf(`DELETE FROM %[1]s WHERE %[2]s = ANY ($1::uuid[])`, next, p.key()), late); err != nil {
			return fmt.Errorf("forget changed rows: %w", err)
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf(`INSERT INTO %[1]s SELECT * FROM %[2]s WHERE %[3]s = ANY ($1::uuid[])`, next, p.name(), p.key()), late)
		if err != nil {
			return fmt.Errorf("copy late rows: %w", err)
		}
		if err := p.dropOld(ctx, tx); err != nil {
			return err
		}
		from, to := p.bounds()
		_, err = tx.ExecContext(ctx, fmt.Sprintf(`
			ALTER TABLE signalstack.%[1]s ATTACH PARTITION %[2]s FOR VALUES FROM ('%[3]s') TO ('%[4]s');
			ALTER TABLE %[2]s DROP CONSTRAINT of_the_day;
			ALTER TABLE %[2]s RENAME TO %[1]s_%[5]s`, p.table, next, from, to, p.day.Format(dayFormat)))
		if err != nil {
			return fmt.Errorf("attach partition: %w", err)
		}
		return nil
	})
}

func (p part) copyKept(ctx context.Context, tx *sqlx.Tx, next string, rows int) error {
	from, to := p.bounds()
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`
		CREATE TABLE %[1]s (LIKE signalstack.%[2]s INCLUDING ALL);
		ALTER TABLE %[1]s ADD CONSTRAINT of_the_day CHECK (%[3]s >= '%[4]s' AND %[3]s < '%[5]s')`, next, p.table, p.key(), from, to))
	if err != nil {
		return fmt.Errorf("make new partition: %w", err)
	}
	step, err := p.copyStep(ctx, tx, rows)
	if err != nil {
		return err
	}
	return p.walk(ctx, tx, step, func(from, to uuid.UUID) error {
		_, err := tx.ExecContext(ctx, fmt.Sprintf(`
			INSERT INTO %[1]s SELECT p.* FROM %[2]s AS p
			WHERE p.%[3]s >= $1 AND p.%[3]s < $2 AND p.%[3]s IN (%[4]s)`, next, p.name(), p.key(), p.keep), append([]any{from, to}, p.keepArgs...)...)
		if err != nil {
			return fmt.Errorf("copy rows: %w", err)
		}
		return nil
	})
}

// copyStep is how many keys are copied in one statement: fewer where rows are
// large.
func (p part) copyStep(ctx context.Context, q pg.Querier, rows int) (int, error) {
	const most = 64 << 20 // bytes
	var size int64
	if err := q.GetContext(ctx, &size, `SELECT pg_table_size($1::regclass)`, p.name()); err != nil {
		return 0, fmt.Errorf("measure partition: %w", err)
	}
	return int(min(countStep, 1+most*int64(rows)/max(size, 1))), nil
}

// exchange runs prepare, and then change with nobody else in the table. When the
// table cannot be had it is asked for again a little later, with the work of
// prepare kept.
func (p part) exchange(ctx context.Context, db *pg.DB, prepare func(*sqlx.Tx) error, change func(context.Context, *sqlx.Tx) error) error {
	return alone(ctx, db, p.name(), func(tx *sqlx.Tx) error {
		for _, table := range p.watched {
			watched, err := isWatched(ctx, tx, partitionName(table, p.day))
			if err != nil {
				return fmt.Errorf("look for watch: %w", err)
			}
			if !watched { // another retention came in between
				return errInUse
			}
		}
		if err := prepare(tx); err != nil {
			return err
		}
		if err := p.lockTable(ctx, tx); err != nil {
			return err
		}
		hold, cancel := context.WithTimeout(ctx, lockHold)
		defer cancel()
		if err := pg.HoldPlans(hold, tx); err != nil {
			return err
		}
		err := change(hold, tx)
		if err != nil && hold.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: too much came to copy it under the lock: %w", errInUse, err)
		}
		return err
	})
}

// lockTable locks everybody out of the table, and whoever makes partitions.
func (p part) lockTable(ctx context.Context, tx *sqlx.Tx) error {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT unlocked`); err != nil {
		return fmt.Errorf("set savepoint: %w", err)
	}
	for try := 1; ; try++ {
		_, err := tx.ExecContext(ctx, fmt.Sprintf(`
			SELECT pg_advisory_xact_lock(hashtext('signalstack partitions'));
			LOCK TABLE ONLY signalstack.%s IN ACCESS EXCLUSIVE MODE`, p.table))
		if err == nil {
			return nil
		}
		err = fmt.Errorf("lock table: %w", err)
		if !gaveWay(err) || try == lockTries {
			return err
		}
		if _, err := tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT unlocked`); err != nil {
			return fmt.Errorf("roll back to savepoint: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// latecomers gives the keys that have to be kept since the rows were looked at, and
// are not in the new table, if there is one.
func (p part) latecomers(ctx context.Context, tx *sqlx.Tx, next string) (pq.StringArray, error) {
	var came []string
	for _, table := range p.watched {
		came = append(came, `SELECT key FROM `+partitionName(table, p.day)+`_late`)
	}
	var args []any
	if p.late != "" {
		from, to := p.bounds()
		args = append([]any{from, to}, p.lateArgs...)
		fresh := `SELECT key FROM (` + p.late + `) AS c (key)`
		if next != "" {
			fresh += ` WHERE NOT EXISTS (SELECT FROM ` + next + ` AS n WHERE n.` + p.key() + ` = c.key)`
		}
		came = append(came, fresh)
	}
	var keys pq.StringArray
	if err := tx.SelectContext(ctx, (*[]string)(&keys), strings.Join(came, " UNION "), args...); err != nil {
		return nil, fmt.Errorf("find late rows: %w", err)
	}
	return keys, nil
}

func (p part) dropOld(ctx context.Context, tx *sqlx.Tx) error {
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`DROP TABLE %[1]s, %[1]s_late`, p.name())); err != nil {
		return fmt.Errorf("drop partition: %w", err)
	}
	return nil
}
