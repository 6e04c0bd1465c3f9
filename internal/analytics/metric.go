package analytics

import "slices"

// metric is what a series can show.
type metric struct {
	facts   []Fact
	outcome string // the only one it counts, or ""
	timed   bool   // needs the histogram
	value   func(*tally) *float64
}

const groupNone = "none"

// groupColumn is the column behind a group_by.
func groupColumn(groupBy string) string {
	switch groupBy {
	case groupNone:
		return "''"
	case "endpoint":
		return endpointKey
	default:
		return groupBy
	}
}

// counted makes the metric of a count: no fact is 0.
func counted(n func(*tally) int64, facts ...Fact) metric {
	return metric{facts: facts, value: func(t *tally) *float64 { return new(float64(n(t))) }}
}

// jobsEnded counts jobs that ended in one way.
func jobsEnded(outcome string) metric {
	m := counted((*tally).ended, JobEnded)
	m.outcome = outcome
	return m
}

func percentile(percent int64) metric {
	return metric{facts: []Fact{AttemptEnded}, timed: true, value: func(t *tally) *float64 { return t.percentileMS(percent) }}
}

// metricNamed gives a metric; the schema of the parameter lists the names.
func metricNamed(name string) metric {
	switch name {
	case "events":
		return counted(func(t *tally) int64 { return t.events }, EventAccepted)
	case "jobs_created":
		return counted(func(t *tally) int64 { return t.created }, JobCreated)
	case "jobs_ended":
		return counted((*tally).ended, JobEnded)
	case "jobs_succeeded":
		return jobsEnded(succeeded)
	case "jobs_failed":
		return jobsEnded(failed)
	case "jobs_canceled":
		return jobsEnded(canceled)
	case "attempts":
		return counted(func(t *tally) int64 { return t.attempts }, AttemptEnded)
	case "retried":
		return counted((*tally).retried, AttemptEnded, JobEnded)
	case "success_rate":
		return metric{facts: []Fact{JobEnded}, value: (*tally).successRate}
	case "duration_avg":
		return metric{facts: []Fact{AttemptEnded}, timed: true, value: (*tally).averageMS}
	case "duration_p50":
		return percentile(50)
	case "duration_p95":
		return percentile(95)
	case "duration_p99":
		return percentile(99)
	default:
		panic("analytics: no metric " + name)
	}
}

// mistakenGroup says why a metric cannot be grouped so, or "".
func mistakenGroup(name, groupBy string) string {
	switch {
	case name == "events" && slices.Contains([]string{"kind", "queue", "endpoint", "outcome"}, groupBy):
		return "events have no " + groupBy + "; group them by type or tenant"
	case groupBy == "outcome" && !slices.Contains([]string{"jobs_ended", "attempts", "duration_avg", "duration_p50", "duration_p95", "duration_p99"}, name):
		return name + " cannot be grouped by outcome; choose another group, or the metric jobs_ended or attempts"
	}
	return ""
}
