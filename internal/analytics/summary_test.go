package analytics_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/analytics"
)

func TestEmptySummaryHasZerosAndNulls(t *testing.T) {
	t.Parallel()
	s := summaryOf(t, newFront(t))
	require.Zero(t, s.Events)
	require.Zero(t, s.Jobs)
	require.Nil(t, s.SuccessRate)
	require.Zero(t, s.DurationMS)
	require.Empty(t, s.ByKind)
	require.Len(t, s.Days, 7)
	require.Equal(t, s.Today, s.Days[6])
	require.Equal(t, "UTC", s.Period.TZ)
}

func TestSummaryCountsByEveryDimension(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	endpoint := uuid.New()
	deltas := append(repeat(5, event("order.paid")), event("user.made"), event("lonely"))
	deltas = append(deltas, repeat(5, fact(analytics.JobCreated, ""))...)
	deltas = append(deltas, repeat(4, attempt("succeeded", 100*time.Millisecond))...)
	deltas = append(deltas, repeat(2, attempt("error", 2*time.Second))...)
	deltas = append(deltas, repeat(3, fact(analytics.JobEnded, "succeeded"))...)
	deltas = append(deltas, fact(analytics.JobEnded, "failed"), fact(analytics.JobEnded, "canceled"))
	deltas = append(deltas, repeat(2, endpointDelta(analytics.JobCreated, endpoint))...)
	deltas = append(deltas, endpointDelta(analytics.JobEnded, endpoint))
	record(t, f.db, deltas...)
	check := func() {
		s := summaryOf(t, f)
		require.EqualValues(t, 7, s.Events)
		require.Equal(t, analytics.JobCounts{Created: 7, Succeeded: 3, Failed: 2, Canceled: 1, Attempts: 6, Retried: 1}, s.Jobs)
		require.InDelta(t, 0.6, *s.SuccessRate, 1e-9)
		require.InEpsilon(t, 100, *s.DurationMS.P50, 0.19)
		require.InEpsilon(t, 2000, *s.DurationMS.P99, 0.19)
		require.InDelta(t, 4400.0/6, *s.DurationMS.Avg, 0.001)

		require.Len(t, s.ByKind, 1)
		require.Equal(t, "webhook", s.ByKind[0].Key)
		require.Equal(t, s.Jobs, s.ByKind[0].JobCounts)
		require.Equal(t, s.DurationMS, s.ByKind[0].DurationMS)
		require.Nil(t, s.ByKind[0].Events)
		require.Equal(t, []string{"default", "slow"}, keys(s.ByQueue))
		require.Equal(t, []string{"order.paid", "user.made", "lonely"}, keys(s.ByType))
		require.EqualValues(t, 5, *s.ByType[0].Events)
		require.EqualValues(t, 1, *s.ByType[2].Events)
		require.Equal(t, []string{"", endpoint.String()}, keys(s.ByEndpoint))
		require.Equal(t, analytics.JobCounts{Created: 2, Failed: 1}, s.ByEndpoint[1].JobCounts)
		require.Zero(t, *s.ByEndpoint[1].SuccessRate)
		require.Zero(t, s.ByEndpoint[1].DurationMS)

		require.Equal(t, analytics.DayCounts{Date: s.Today.Date, Events: 7, Created: 7, Succeeded: 3, Failed: 2, Canceled: 1}, s.Today)
		require.Equal(t, s.Today, s.Days[6])
		for _, filter := range [][2]string{{"endpoint_id", endpoint.String()}, {"queue", "slow"}} {
			filtered := summaryOf(t, f, filter[0], filter[1])
			require.Equal(t, s.ByEndpoint[1].JobCounts, filtered.Jobs)
			require.Zero(t, filtered.Events, "events have no %s", filter[0])
		}
		require.EqualValues(t, 1, summaryOf(t, f, "type", "user.made", "tenant", "default").Events)
		require.EqualValues(t, 2, summaryOf(t, f, "tenant", "acme").Jobs.Created)
		require.Equal(t, s.Jobs, summaryOf(t, f, "kind", "webhook").Jobs)
		require.Zero(t, summaryOf(t, f, "kind", "email").Jobs)
	}
	check()
	fold(t, f.db)
	check()
}

func keys(groups []analytics.Group) []string {
	var all []string
	for _, g := range groups {
		all = append(all, g.Key)
	}
	return all
}

func TestSummaryTellsAHundredKeysApart(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for i := range 130 {
		record(t, f.db, repeat(200-i, event(fmt.Sprintf("type.%03d", i)))...)
	}
	s := summaryOf(t, f)
	require.Len(t, s.ByType, 101)
	require.Equal(t, "type.000", s.ByType[0].Key)
	require.Equal(t, "type.099", s.ByType[99].Key)
	rest := s.ByType[100]
	require.Empty(t, rest.Key)
	require.EqualValues(t, 30, rest.Rest)
	sum := int64(0)
	for _, g := range s.ByType {
		sum += *g.Events
	}
	require.Equal(t, s.Events, sum)
}

func TestSummaryPeriodIsReadFromAllGrains(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	// One event each quarter of an hour of ten days.
	begin := time.Date(2026, 3, 1, 0, 7, 0, 0, time.UTC)
	_, err := f.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.analytics_deltas (at, tenant, fact, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us)
		SELECT at, 'default', 'event', '', '', '', 'a', '00000000-0000-0000-0000-000000000000', -1, 1, 0
		FROM generate_series($1::timestamptz, $1::timestamptz + interval '10 days' - interval '1 minute', '15 minutes') AS at`, begin)
	require.NoError(t, err)
	require.Equal(t, 960, fold(t, f.db))
	midnight := begin.Add(-7 * time.Minute)
	for _, c := range []struct{ from, to time.Duration }{
		{0, 240 * time.Hour},
		{15 * time.Minute, 30 * time.Minute},
		{45 * time.Minute, 75 * time.Minute},
		{23*time.Hour + 45*time.Minute, 24*time.Hour + 15*time.Minute},
		{23 * time.Hour, 25 * time.Hour},
		{15 * time.Minute, 239*time.Hour + 45*time.Minute},
		{7*time.Hour + 15*time.Minute, 100*time.Hour + 30*time.Minute},
		{24 * time.Hour, 48 * time.Hour},
	} {
		for _, zone := range []string{"UTC", "Asia/Kathmandu", "America/New_York"} {
			s := summaryOf(t, f, "from", midnight.Add(c.from).Format(time.RFC3339), "to", midnight.Add(c.to).Format(time.RFC3339), "tz", zone)
			require.EqualValues(t, (c.to-c.from)/(15*time.Minute), s.Events, "%v %s", c, zone)
			sum := int64(0)
			for _, d := range s.Days {
				sum += d.Events
			}
			require.Equal(t, s.Events, sum, "%v %s", c, zone)
		}
	}
	s := summaryOf(t, f, "from", "2026-03-02T10:07:30Z", "to", "2026-03-02T10:20:00Z")
	require.EqualValues(t, 2, s.Events, "rounded outwards")
	require.Equal(t, "2026-03-02T10:00:00Z", s.Period.From.Format(time.RFC3339))
	require.Equal(t, "2026-03-02T10:30:00Z", s.Period.To.Format(time.RFC3339))
}

func TestSummaryDaysAreThoseOfTheZone(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	recordAt(t, f.db, "2026-03-08T04:59:00Z", event("a")) // 23:59 in New York
	recordAt(t, f.db, "2026-03-08T05:00:00Z", event("a"))
	recordAt(t, f.db, "2026-03-09T03:59:00Z", event("a")) // 23:59, after a day of 23 hours
	recordAt(t, f.db, "2026-03-09T04:00:00Z", event("a"))
	for range 2 {
		s := summaryOf(t, f, "from", "2026-03-06T00:00:00-05:00", "to", "2026-03-10T00:00:00-04:00", "tz", "America/New_York")
		require.Equal(t, []analytics.DayCounts{
			{Date: "2026-03-06"},
			{Date: "2026-03-07", Events: 1},
			{Date: "2026-03-08", Events: 2},
			{Date: "2026-03-09", Events: 1},
		}, s.Days)
		fold(t, f.db)
	}
}
