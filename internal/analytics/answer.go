package analytics

import "time"

// Summary is what happened in a period.
type Summary struct {
	Period      Period      `json:"period"`
	Events      int64       `json:"events" doc:"Events that were accepted"`
	Jobs        JobCounts   `json:"jobs"`
	SuccessRate *float64    `json:"success_rate" doc:"succeeded / (succeeded + failed), null when no job ended so"`
	DurationMS  Durations   `json:"duration_ms"`
	ByKind      []Group     `json:"by_kind" nullable:"false"`
	ByQueue     []Group     `json:"by_queue" nullable:"false"`
	ByType      []Group     `json:"by_type" nullable:"false" doc:"By type of event; the empty key has jobs without an event"`
	ByEndpoint  []Group     `json:"by_endpoint" nullable:"false" doc:"The empty key has jobs without an endpoint"`
	Today       DayCounts   `json:"today" doc:"The day in the zone that it is now, whatever the period"`
	Days        []DayCounts `json:"days" nullable:"false" doc:"Each day in the zone that has a part in the period, and of it what lies in the period"`
}

// Period is the time that was counted, rounded outwards.
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to" doc:"Not in the period itself"`
	TZ   string    `json:"tz"`
}

// JobCounts counts the jobs and attempts of a period. A job that was created in
// one period may end in another.
type JobCounts struct {
	Created   int64 `json:"created"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	Canceled  int64 `json:"canceled"`
	Attempts  int64 `json:"attempts" doc:"Attempts that ended"`
	Retried   int64 `json:"retried" doc:"Attempts after which the job was not done"`
}

// Durations are those of attempts; all are null when there were none.
type Durations struct {
	P50 *float64 `json:"p50" doc:"Within 19 % of the exact value, as p95 and p99"`
	P95 *float64 `json:"p95"`
	P99 *float64 `json:"p99"`
	Avg *float64 `json:"avg" doc:"Exact"`
}

// Group is what happened to what has one key.
type Group struct {
	Key    string `json:"key"`
	Rest   int64  `json:"rest,omitempty" doc:"Set on the last group when there are more than 100 keys: it sums up this many smaller ones"`
	Events *int64 `json:"events,omitempty" doc:"Only by type: events have no kind, queue and endpoint"`
	JobCounts
	SuccessRate *float64  `json:"success_rate"`
	DurationMS  Durations `json:"duration_ms"`
}

// DayCounts are the counts of one day.
type DayCounts struct {
	Date      string `json:"date" format:"date"`
	Events    int64  `json:"events"`
	Created   int64  `json:"created"`
	Succeeded int64  `json:"succeeded"`
	Failed    int64  `json:"failed"`
	Canceled  int64  `json:"canceled"`
}

// TimeSeries is a metric over time.
type TimeSeries struct {
	Bucket  Bucket    `json:"bucket"`
	TZ      string    `json:"tz"`
	Metric  string    `json:"metric"`
	GroupBy string    `json:"group_by"`
	From    time.Time `json:"from" doc:"The beginning of the first bucket"`
	To      time.Time `json:"to" doc:"The end of the last bucket"`
	Series  []Series  `json:"series" nullable:"false" doc:"The largest groups first; one without a name when nothing is grouped"`
}

// Series is the metric of one group.
type Series struct {
	Group  string  `json:"group"`
	Rest   int64   `json:"rest,omitempty" doc:"Set on the last group when there are more than 50: it sums up this many smaller ones"`
	Points []Point `json:"points" nullable:"false" doc:"One for each bucket, also where nothing happened"`
}

// Point is the metric in one bucket.
type Point struct {
	Start time.Time `json:"start"`
	Value *float64  `json:"value" doc:"Durations are in milliseconds; null where a rate or duration has nothing to go by"`
}
