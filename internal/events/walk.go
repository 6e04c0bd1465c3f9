package events

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/httpapi"
)

// Walk goes over stored events in the order of their ids, a stretch at a time. Of its
// filters only Tenant must be set; the others narrow nothing when they are zero.
type Walk struct {
	Tenant, Type, Source, Subject string
	From, Before                  uuid.UUID // ids; the first is part of the walk, the second is not
	AcceptedBy                    time.Time // no event that was accepted later
}

// Stretch is what a step of a walk found.
type Stretch struct {
	Last  string // id of the last event that was looked at; the next step begins after it
	Found int    // how many of them fit
	End   bool   // there are no more
}

// scanText reads the next $1 rows after $2, in the order of an index: that of the type
// or of the tenant where the walk names one, else the primary key. It bounds what a step
// costs, however few of the rows fit, as long as it is that index: the primary key and a
// filter on the type would read all rows to find some. So the bounds (%s) are written in
// a form that no other index can use, as rows of all its columns. That finds the place in
// each partition before the position, which takes microseconds, where bounds on the id
// would leave the partitions out.
const scanText = `
    SELECT id, tenant, type, source, subject, received_at, coalesce(octet_length(data), 0) AS size
    FROM signalstack.events
    WHERE %s
    ORDER BY id LIMIT $1`

// fits is what the index does not know.
const fits = `tenant = $5::text AND ($6::text = '' OR type = $6) AND ($7::text = '' OR source = $7)
      AND ($8::text = '' OR subject = $8) AND received_at <= $9::timestamptz`

const countText = `
WITH scanned AS MATERIALIZED (` + scanText + `
)
SELECT count(*) AS scanned, count(*) FILTER (WHERE ` + fits + `) AS found,
       coalesce((SELECT id::text FROM scanned ORDER BY scanned.id DESC LIMIT 1), '') AS last
FROM scanned`

// findText takes the first $10 that fit, and of these what has less than $11 bytes of
// data before it. It stops reading when it has them.
const findText = `
WITH found AS MATERIALIZED (
    SELECT id, size FROM (` + scanText + `
    ) AS scanned
    WHERE ` + fits + `
    ORDER BY id LIMIT $10
)
SELECT id::text AS id, found FROM (
    SELECT id, sum(size) OVER (ORDER BY id) - size AS bytes_before, count(*) OVER () AS found FROM found
) AS f
WHERE bytes_before < $11
ORDER BY f.id`

// way is one along the events.
type way struct{ count, find string }

func newWay(bounds string) way {
	return way{fmt.Sprintf(countText, bounds), fmt.Sprintf(findText, bounds)}
}

// The index of tenants leaves the default one out, which has most of the events.
var (
	wayOfAll  = newWay(`id > $2::uuid AND id >= $3::uuid AND id < $4::uuid`)
	wayOfType = newWay(`type = $6::text AND (type, id) > ($6::text, $2::uuid) AND (type, id) >= ($6::text, $3::uuid)
      AND (type, id) < ($6::text, $4::uuid)`)
	wayOfTenant = newWay(`tenant <> 'default' AND tenant = $5::text AND (tenant, id) > ($5::text, $2::uuid)
      AND (tenant, id) >= ($5::text, $3::uuid) AND (tenant, id) < ($5::text, $4::uuid)`)
)

func (w Walk) way() way {
	switch {
	case w.Type != "":
		return wayOfType
	case w.Tenant != httpapi.DefaultTenant:
		return wayOfTenant
	}
	return wayOfAll
}

func (w Walk) args(after string, scan int) []any {
	if after == "" {
		after = uuid.Nil.String()
	}
	latest := "infinity"
	if !w.AcceptedBy.IsZero() {
		latest = w.AcceptedBy.UTC().Format(time.RFC3339Nano)
	}
	return []any{scan, after, w.From, w.Before, w.Tenant, w.Type, w.Source, w.Subject, latest}
}

// walkBytes bounds the data that one step takes into memory; one event may exceed it
// alone.
const walkBytes = 8 << 20

// Count counts what fits of the next scan events after an id ("" for the first).
func (w Walk) Count(ctx context.Context, tx *sqlx.Tx, after string, scan int) (Stretch, error) {
	var row struct {
		Scanned int
		Found   int
		Last    string
	}
	if err := tx.GetContext(ctx, &row, w.way().count, w.args(after, scan)...); err != nil {
		return Stretch{}, fmt.Errorf("count events: %w", err)
	}
	return Stretch{Last: row.Last, Found: row.Found, End: row.Scanned < scan}, nil
}

// Next gives up to limit events of the next scan after an id ("" for the first).
func (w Walk) Next(ctx context.Context, tx *sqlx.Tx, after string, scan, limit int) ([]Stored, Stretch, error) {
	var rows []struct {
		ID    string
		Found int
	}
	if err := tx.SelectContext(ctx, &rows, w.way().find, append(w.args(after, scan), limit, walkBytes)...); err != nil {
		return nil, Stretch{}, fmt.Errorf("find events: %w", err)
	}
	if len(rows) == 0 {
		s, err := w.Count(ctx, tx, after, scan)
		s.Found = 0
		return nil, s, err
	}
	ids := make(pq.StringArray, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	s := Stretch{Last: ids[len(ids)-1], Found: len(ids)}
	if len(ids) < limit && len(ids) == rows[0].Found { // what was scanned beyond them does not fit
		rest, err := w.Count(ctx, tx, after, scan)
		if err != nil {
			return nil, Stretch{}, err
		}
		s.Last, s.End = rest.Last, rest.End
	}
	// The bounds find the partitions before the ids are looked at.
	all := make([]Stored, 0, len(ids))
	err := tx.SelectContext(ctx, &all, `
		SELECT `+columns+`, opaque, data FROM signalstack.events
		WHERE id = ANY ($1::uuid[]) AND id >= $2::uuid AND id <= $3::uuid
		ORDER BY id
		FOR KEY SHARE`, ids, ids[0], ids[len(ids)-1]) // so that none is erased or dropped before its jobs are there
	if err != nil {
		return nil, Stretch{}, fmt.Errorf("read events: %w", err)
	}
	return all, s, nil
}
