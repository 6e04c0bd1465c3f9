package analytics_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// starts gives the beginnings of the first series, as the clock of its zone shows
// them.
func starts(s analytics.TimeSeries, layout string) []string {
	var all []string
	for _, p := range s.Series[0].Points {
		all = append(all, p.Start.Format(layout))
	}
	return all
}

// values gives the values of a series; -1 is null.
func values(s analytics.Series) []float64 {
	var all []float64
	for _, p := range s.Points {
		if p.Value == nil {
			all = append(all, -1)
		} else {
			all = append(all, *p.Value)
		}
	}
	return all
}

func TestSeriesAcrossTheChangeOfClocks(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	// One event every quarter of an hour over all the changes below, so that the
	// value of a bucket is its length.
	for _, day := range []string{"2026-03-07", "2026-10-31", "2026-04-04", "2026-10-03", "2018-11-03"} {
		_, err := f.db.ExecContext(t.Context(), `
			INSERT INTO signalstack.analytics_deltas (at, tenant, fact, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us)
			SELECT at, 'default', 'event', '', '', '', 'a', '00000000-0000-0000-0000-000000000000', -1, 1, 0
			FROM generate_series($1::timestamptz, $1::timestamptz + interval '72 hours' - interval '1 minute', '15 minutes') AS at`, day+"T00:00:00Z")
		require.NoError(t, err)
	}
	for _, c := range []struct {
		zone, bucket, from, to string
		starts                 []string
		values                 []float64
	}{
		{
			"America/New_York", "day", "2026-03-08T12:00:00-04:00", "2026-03-08T13:00:00-04:00",
			[]string{"2026-03-08T00:00:00-05:00"},
			[]float64{23 * 4},
		},
		{
			"America/New_York", "day", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00",
			[]string{"2026-11-01T00:00:00-04:00"},
			[]float64{25 * 4},
		},
		{
			"America/New_York", "hour", "2026-11-01T00:00:00-04:00", "2026-11-01T03:00:00-05:00",
			[]string{"2026-11-01T00:00:00-04:00", "2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"},
			[]float64{4, 4, 4, 4},
		},
		{
			"America/New_York", "hour", "2026-03-08T01:00:00-05:00", "2026-03-08T04:00:00-04:00",
			[]string{"2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"},
			[]float64{4, 4},
		},
		{ // back by half an hour at 2:00
			"Australia/Lord_Howe", "hour", "2026-04-05T01:00:00+11:00", "2026-04-05T03:00:00+10:30",
			[]string{"2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"},
			[]float64{4, 2, 4},
		},
		{ // forward by half an hour at 2:00
			"Australia/Lord_Howe", "hour", "2026-10-04T01:00:00+10:30", "2026-10-04T04:00:00+11:00",
			[]string{"2026-10-04T01:00:00+10:30", "2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00"},
			[]float64{4, 2, 4},
		},
		{
			"Australia/Lord_Howe", "day", "2026-10-04T00:00:00+10:30", "2026-10-05T00:00:00+11:00",
			[]string{"2026-10-04T00:00:00+10:30"},
			[]float64{47 * 2},
		},
		{
			"Asia/Kathmandu", "day", "2026-03-08T00:00:00+05:45", "2026-03-09T00:00:00+05:45",
			[]string{"2026-03-08T00:00:00+05:45"},
			[]float64{96},
		},
		{
			"Asia/Kathmandu", "hour", "2026-03-08T00:10:00+05:45", "2026-03-08T01:10:00+05:45",
			[]string{"2026-03-08T00:00:00+05:45", "2026-03-08T01:00:00+05:45"},
			[]float64{4, 4},
		},
		{ // midnight of the fourth does not exist
			"America/Sao_Paulo", "day", "2018-11-03T12:00:00-03:00", "2018-11-04T12:00:00-02:00",
			[]string{"2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00"},
			[]float64{96, 23 * 4},
		},
		{ // Monday to Monday, and a Sunday of 23 hours; only three days of it have events
			"America/New_York", "week", "2026-03-04T00:00:00-05:00", "2026-03-09T00:00:00-04:00",
			[]string{"2026-03-02T00:00:00-05:00"},
			[]float64{52 * 4},
		},
	} {
		for range 2 {
			s := seriesOf(t, f, "metric", "events", "bucket", c.bucket, "tz", c.zone, "from", c.from, "to", c.to)
			require.Equal(t, c.starts, starts(s, time.RFC3339), "%+v", c)
			require.Equal(t, c.values, values(s.Series[0]), "%+v", c)
			require.Equal(t, s.From, s.Series[0].Points[0].Start)
			fold(t, f.db)
		}
	}
}

func TestSeriesFillsGaps(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	recordAt(t, f.db, "2026-05-01T10:05:30Z", repeat(3, fact(analytics.JobEnded, "succeeded"))...)
	recordAt(t, f.db, "2026-05-01T10:05:59Z", fact(analytics.JobEnded, "failed"), attempt("error", time.Second))
	recordAt(t, f.db, "2026-05-01T12:59:00Z", fact(analytics.JobEnded, "canceled"))
	period := []string{"from", "2026-05-01T10:00:00Z", "to", "2026-05-01T13:00:00Z"}
	for metric, want := range map[string][]float64{
		"events":         {0, 0, 0},
		"jobs_created":   {0, 0, 0},
		"jobs_ended":     {4, 0, 1},
		"jobs_succeeded": {3, 0, 0},
		"jobs_failed":    {1, 0, 0},
		"jobs_canceled":  {0, 0, 1},
		"attempts":       {1, 0, 0},
		"success_rate":   {0.75, -1, -1},
		"duration_avg":   {1000, -1, -1},
	} {
		s := seriesOf(t, f, append(period, "metric", metric)...)
		require.Equal(t, want, values(s.Series[0]), metric)
	}
	for _, metric := range []string{"duration_p50", "duration_p95", "duration_p99"} {
		got := values(seriesOf(t, f, append(period, "metric", metric)...).Series[0])
		require.InEpsilon(t, 1000, got[0], 0.19)
		require.Equal(t, []float64{-1, -1}, got[1:])
	}
	require.Equal(t, []float64{0}, values(seriesOf(t, f, append(period, "metric", "events", "bucket", "week")...).Series[0]))
}

func TestSeriesByGroup(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	endpoint := uuid.New()
	record(t, f.db, append(repeat(3, fact(analytics.JobEnded, "succeeded")), endpointDelta(analytics.JobEnded, endpoint), event("lonely"))...)
	record(t, f.db, attempt("timeout", time.Second), attempt("succeeded", time.Second), attempt("succeeded", time.Second))
	for _, c := range []struct {
		metric, groupBy string
		want            map[string]float64
	}{
		{"jobs_ended", "none", map[string]float64{"": 4}},
		{"jobs_ended", "kind", map[string]float64{"webhook": 4}},
		{"jobs_ended", "queue", map[string]float64{"default": 3, "slow": 1}},
		{"jobs_ended", "type", map[string]float64{"order.paid": 3, "user.made": 1}},
		{"jobs_ended", "endpoint", map[string]float64{"": 3, endpoint.String(): 1}},
		{"jobs_ended", "tenant", map[string]float64{"default": 3, "acme": 1}},
		{"jobs_ended", "outcome", map[string]float64{"succeeded": 3, "failed": 1}},
		{"jobs_failed", "queue", map[string]float64{"slow": 1}},
		{"attempts", "outcome", map[string]float64{"succeeded": 2, "timeout": 1}},
		{"events", "type", map[string]float64{"lonely": 1}},
		{"retried", "queue", map[string]float64{"default": 0, "slow": 0}},
	} {
		for range 2 {
			s := seriesOf(t, f, "metric", c.metric, "group_by", c.groupBy, "bucket", "day")
			got := map[string]float64{}
			for _, g := range s.Series {
				require.Len(t, g.Points, 30)
				got[g.Group] = *g.Points[29].Value
			}
			require.Equal(t, c.want, got, "%s by %s", c.metric, c.groupBy)
			fold(t, f.db)
		}
	}
	require.Empty(t, seriesOf(t, f, "metric", "jobs_ended", "group_by", "kind", "kind", "email").Series)
	require.Len(t, seriesOf(t, f, "metric", "jobs_ended", "queue", "slow").Series, 1)
}

func TestSeriesTellsFiftyGroupsApart(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for i := range 60 {
		record(t, f.db, repeat(100-i, event(fmt.Sprintf("type.%02d", i)))...)
	}
	s := seriesOf(t, f, "metric", "events", "group_by", "type")
	require.Len(t, s.Series, 51)
	require.Equal(t, "type.00", s.Series[0].Group)
	require.EqualValues(t, 10, s.Series[50].Rest)
	require.InDelta(t, 41+42+43+44+45+46+47+48+49+50, *s.Series[50].Points[23].Value, 0)

	p := get[httpapi.Problem](t, f, 422, "/analytics/timeseries", "metric", "events", "group_by", "type", "bucket", "hour",
		"from", time.Now().Add(-200*time.Hour).Format(time.RFC3339))
	require.Equal(t, "/query/bucket", p.Errors[0].Pointer, "51 groups of 201 buckets")
}

func TestDefaultSeriesEndsNow(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	record(t, f.db, fact(analytics.JobCreated, ""))
	for bucket, n := range map[string]int{"minute": 60, "hour": 24, "day": 30, "week": 12} {
		// The minute may end between the record and the answer.
		got := values(seriesOf(t, f, "bucket", bucket).Series[0])
		require.Len(t, got, n, bucket)
		require.InDelta(t, 1, got[n-1]+got[n-2], 0, bucket)
	}
}

// TestLastPeriodThatIsTakenCanBeWritten is rounded outwards, and in a zone ahead.
func TestLastPeriodThatIsTakenCanBeWritten(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, zone := range []string{"UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"} {
		get[analytics.Summary](t, f, 200, "/analytics/summary", "to", "2999-12-31T23:59:59Z", "tz", zone)
		get[analytics.TimeSeries](t, f, 200, "/analytics/timeseries", "to", "2999-12-31T23:59:59Z", "tz", zone, "bucket", "week")
	}
}

func TestBadQuestionsAreRefusedWithEveryMistake(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	long := time.Now().Add(-8 * 24 * time.Hour).Format(time.RFC3339)
	for _, c := range []struct {
		path   string
		params []string
		want   []string
	}{
		{"summary", []string{"tz", "Mars/Olympus", "from", "yesterday"}, []string{"tz", "from"}},
		{"summary", []string{"tz", "Local"}, []string{"tz"}},
		{"summary", []string{"kind", "a\x00b", "queue", "\xff"}, []string{"kind", "queue"}},
		{"summary", []string{"tz", "../etc/passwd"}, []string{"tz"}},
		{"summary", []string{"from", "2026-01-02T00:00:00Z", "to", "2026-01-01T00:00:00Z", "endpoint_id", "7"}, []string{"to", "endpoint_id"}},
		{"summary", []string{"from", "2026-01-02T00:00:00Z", "to", "2026-01-02T00:00:00Z"}, []string{"to"}},
		{"summary", []string{"from", "1999-01-02T00:00:00Z"}, []string{"from"}},
		{"summary", []string{"from", "2020-01-02T00:00:00Z"}, []string{"from"}},
		{"summary", []string{"from", "9999-01-02T00:00:00Z"}, []string{"from"}},
		{"timeseries", []string{"bucket", "year", "metric", "joy", "group_by", "mood", "tz", "x"}, []string{"bucket", "metric", "group_by", "tz"}},
		{"timeseries", []string{"metric", "events", "group_by", "kind"}, []string{"group_by"}},
		{"timeseries", []string{"metric", "success_rate", "group_by", "outcome"}, []string{"group_by"}},
		{"timeseries", []string{"bucket", "minute", "from", long}, []string{"from"}},
		{"timeseries", []string{"bucket", "hour", "from", "2020-01-02T00:00:00Z"}, []string{"bucket"}},
		{"timeseries", []string{"bucket", "day", "from", "2000-01-02T00:00:00Z", "to", "2999-12-31T00:00:00Z"}, []string{"bucket"}},
		{"timeseries", []string{"to", "9999-12-31T23:59:59Z"}, []string{"to"}},
		{"timeseries", []string{"from", "0001-01-01T00:00:00Z", "to", "3000-01-01T00:00:00Z"}, []string{"from", "to"}},
		{"summary", []string{"to", "9999-12-31T23:59:59Z"}, []string{"to"}},
		{"summary", []string{"bogus", "1", "to", "x"}, []string{"bogus", "to"}},
	} {
		p := get[httpapi.Problem](t, f, 422, "/analytics/"+c.path, c.params...)
		var got, want []string
		for _, e := range p.Errors {
			got = append(got, e.Pointer)
			require.NotEmpty(t, e.Detail)
		}
		for _, name := range c.want {
			want = append(want, "/query/"+name)
		}
		require.ElementsMatch(t, want, got, "%v: %+v", c.params, p)
		require.Equal(t, "invalid_parameter", p.Code)
	}
}
