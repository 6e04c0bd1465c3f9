package analytics

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// Routes lists the operations on analytics.
func Routes(api *httpapi.API, db *pg.DB) {
	s := &server{db: db}
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-summary", Method: http.MethodGet, Path: "/analytics/summary", Tags: []string{"analytics"},
		Summary: "Count what happened in a period",
		Description: "Counts are exact at any moment. The period is rounded outwards to quarters of an hour; without from and to it is " +
			"today in the zone and the six days before. Events have no kind, queue and endpoint: such a filter leaves none of them.",
	}, s.summary)
	httpapi.Register(api, httpapi.Operation{
		OperationID: "get-timeseries", Method: http.MethodGet, Path: "/analytics/timeseries", Tags: []string{"analytics"},
		Summary: "Show a metric over time",
		Description: "The period is rounded outwards to whole buckets of the zone: days of 23 and 25 hours are what they are, weeks begin " +
			"on Monday. It ends now and has 60 minutes, 24 hours, 30 days or 12 weeks when nothing is asked for. Minutes are kept for 7 days. " +
			"An answer has at most 10,000 points.",
	}, s.timeSeries)
}

type server struct{ db *pg.DB }

// PeriodIn is the period of a question. The library sees parameters of embedded
// types only when these are exported.
type PeriodIn struct {
	From httpapi.Time `query:"from" doc:"RFC 3339; 2000 or later"`
	To   httpapi.Time `query:"to" doc:"RFC 3339, before 3000, not in the period itself; now when absent"`
	TZ   string       `query:"tz" default:"UTC" doc:"IANA time zone, such as Europe/Berlin"`
}

// FilterIn are the filters of a question.
type FilterIn struct {
	Tenant     string `query:"tenant"`
	Kind       string `query:"kind"`
	Queue      string `query:"queue"`
	Type       string `query:"type" doc:"Of the event"`
	EndpointID string `query:"endpoint_id" format:"uuid"`
}

func (in FilterIn) filter() Filter {
	return Filter(in)
}

func (in *PeriodIn) asked() Asked {
	zone, _ := loadZone(in.TZ) // Resolve has refused what there is not
	return Asked{From: in.From.Time, To: in.To.Time, Zone: zone}
}

// firstTime is where periods may begin. There is nothing to count before, and
// zones of the past had offsets of odd minutes.
func firstTime() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// lastTime is where periods must end before. There is nothing to count after, and a
// period that is rounded outwards must not leave the years that RFC 3339 can write.
func lastTime() time.Time { return time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC) }

// mistakes gives those that the schema does not find.
func (in *PeriodIn) mistakes() []error {
	var mistakes []error
	if _, ok := loadZone(in.TZ); !ok {
		mistakes = append(mistakes, mistake("tz", "is not a known time zone; write an IANA name such as Europe/Berlin"))
	}
	outside := false
	for _, p := range []struct {
		name string
		time httpapi.Time
	}{{"from", in.From}, {"to", in.To}} {
		if p.time.Given && (p.time.Before(firstTime()) || !p.time.Before(lastTime())) {
			outside = true
			mistakes = append(mistakes, mistake(p.name, "must be from "+firstTime().Format(time.RFC3339)+" to before "+lastTime().Format(time.RFC3339)))
		}
	}
	if !outside && in.From.Given && in.To.Given && !in.To.After(in.From.Time) {
		mistakes = append(mistakes, mistake("to", "must be after from"))
	}
	return mistakes
}

// loadZone finds a zone by its IANA name. "Local" would be the server's own, and
// those below right/ count leap seconds, which no timestamp here does.
func loadZone(name string) (*time.Location, bool) {
	if name == "Local" || strings.HasPrefix(name, "right/") {
		return nil, false
	}
	zone, err := time.LoadLocation(name)
	return zone, err == nil
}

func mistake(parameter, detail string) error {
	return &huma.ErrorDetail{Location: "query." + parameter, Message: detail}
}

type summaryIn struct {
	PeriodIn
	FilterIn
}

// Resolve gives the mistakes that the schema does not find; huma calls it and adds
// its own.
func (in *summaryIn) Resolve(huma.Context) []error {
	return in.PeriodIn.mistakes()
}

type summaryOut struct{ Body Summary }

func (s *server) summary(ctx context.Context, in *summaryIn) (*summaryOut, error) {
	body, err := Summarize(ctx, s.db, in.asked(), in.filter())
	if err != nil {
		return nil, err
	}
	return &summaryOut{Body: body}, nil
}

type timeSeriesIn struct {
	Bucket  Bucket `query:"bucket" enum:"minute,hour,day,week" default:"hour"`
	Metric  string `query:"metric" enum:"events,jobs_created,jobs_ended,jobs_succeeded,jobs_failed,jobs_canceled,attempts,retried,success_rate,duration_avg,duration_p50,duration_p95,duration_p99" default:"jobs_created"`
	GroupBy string `query:"group_by" enum:"none,kind,queue,type,endpoint,outcome,tenant" default:"none"`
	PeriodIn
	FilterIn
}

// Resolve gives the mistakes that the schema does not find; huma calls it and adds
// its own.
func (in *timeSeriesIn) Resolve(huma.Context) []error {
	mistakes := in.PeriodIn.mistakes()
	if detail := mistakenGroup(in.Metric, in.GroupBy); detail != "" {
		mistakes = append(mistakes, mistake("group_by", detail))
	}
	return mistakes
}

type timeSeriesOut struct{ Body TimeSeries }

func (s *server) timeSeries(ctx context.Context, in *timeSeriesIn) (*timeSeriesOut, error) {
	body, err := NewTimeSeries(ctx, s.db, in.asked(), Wanted{Bucket: in.Bucket, Metric: in.Metric, GroupBy: in.GroupBy, Filter: in.filter()})
	if err != nil {
		return nil, err
	}
	return &timeSeriesOut{Body: body}, nil
}
