package analytics

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // for machines without zones

	"github.com/stretchr/testify/require"
)

// zones gives all zones that this machine knows.
func zones(t *testing.T) []*time.Location {
	t.Helper()
	const root = "/usr/share/zoneinfo"
	var all []*time.Location
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		if err != nil || strings.HasPrefix(name, "right/") {
			return err
		}
		if zone, bad := time.LoadLocation(name); bad == nil {
			all = append(all, zone)
		}
		return nil
	})
	if os.IsNotExist(err) {
		return []*time.Location{time.UTC}
	}
	require.NoError(t, err)
	return all
}

// TestBucketsAroundEveryChangeOfEveryClock checks that buckets lie end to end and
// on quarters of an hour, whatever governments have done since 2000.
func TestBucketsAroundEveryChangeOfEveryClock(t *testing.T) {
	t.Parallel()
	for _, zone := range zones(t) {
		change := time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC).In(zone)
		for !change.IsZero() && change.Year() < 2032 {
			for _, bucket := range []Bucket{Minute, Hour, Day, Week} {
				checkBuckets(t, calendar{bucket, zone}, change)
			}
			_, change = change.ZoneBounds()
		}
	}
}

func checkBuckets(t *testing.T, c calendar, around time.Time) {
	t.Helper()
	reach := map[Bucket]time.Duration{Minute: 2 * time.Minute, Hour: 3 * time.Hour, Day: 50 * time.Hour, Week: 8 * 24 * time.Hour}[c.bucket]
	bounds, ok := c.bounds(around.Add(-reach), around.Add(reach), 20)
	require.True(t, ok)
	for i, start := range bounds {
		if c.bucket != Minute && !floor(start, quarterGrain).Equal(start) {
			t.Errorf("%s: a %s begins at %s", c.zone, c.bucket, start)
		}
		if !c.start(start).Equal(start) || i > 0 && !c.start(start.Add(-1)).Equal(bounds[i-1]) {
			t.Errorf("%s: a %s overlaps with the one that begins at %s", c.zone, c.bucket, start)
		}
		if c.bucket == Day && dayNumber(start.Add(-1)) >= dayNumber(start) {
			t.Errorf("%s: at %s the day has begun already", c.zone, start)
		}
		if c.bucket == Week && start.Weekday() != time.Monday {
			t.Errorf("%s: a week begins at %s", c.zone, start)
		}
	}
}

func TestDaysThatDoNotExistHaveNoBucket(t *testing.T) {
	t.Parallel()
	apia, err := time.LoadLocation("Pacific/Apia")
	require.NoError(t, err)
	c := calendar{Day, apia}
	// Samoa went over to the other side of the date line.
	bounds, ok := c.bounds(time.Date(2011, 12, 29, 12, 0, 0, 0, apia), time.Date(2011, 12, 31, 12, 0, 0, 0, apia), 10)
	require.True(t, ok)
	var days []string
	for _, b := range bounds {
		days = append(days, b.Format(time.DateOnly))
	}
	require.Equal(t, []string{"2011-12-29", "2011-12-31", "2012-01-01"}, days)
}

func TestDayBeginsWithTheFirstMidnight(t *testing.T) {
	t.Parallel()
	havana, err := time.LoadLocation("America/Havana")
	require.NoError(t, err)
	c := calendar{Day, havana}
	start := c.start(time.Date(2026, 11, 1, 12, 0, 0, 0, havana))
	require.Equal(t, "2026-11-01T00:00:00-04:00", start.Format(time.RFC3339))
	require.Equal(t, 25*time.Hour, c.next(start).Sub(start))
}
