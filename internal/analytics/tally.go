package analytics

// count is a row of an answer of the database: how often something was the case
// in a slot of time and a group.
type count struct {
	Slot    int    `db:"slot"`
	Fact    Fact   `db:"fact"`
	Outcome string `db:"outcome"`
	Bucket  int    `db:"bucket"`
	N       int64  `db:"n"`
	SumUS   int64  `db:"sum_us"`
}

// tally adds up counts.
type tally struct {
	events, created, attempts   int64
	succeeded, failed, canceled int64
	cut                         int64 // attempts that ended because somebody canceled the job
	timed, us                   int64
	durations                   histogram
}

func (t *tally) add(c count) {
	switch c.Fact {
	case EventAccepted:
		t.events += c.N
	case JobCreated:
		t.created += c.N
	case AttemptEnded:
		t.attempts += c.N
		if c.Outcome == canceled {
			t.cut += c.N
		}
		if c.Bucket != noBucket {
			t.timed += c.N
			t.us += c.SumUS
			t.durations.add(c.Bucket, c.N)
		}
	case JobEnded:
		switch c.Outcome {
		case succeeded:
			t.succeeded += c.N
		case failed:
			t.failed += c.N
		case canceled:
			t.canceled += c.N
		}
	case EventWarned: // is counted as an event as well
	case JobReopened: // what comes of the job then is counted like that of any other
	}
}

func (t *tally) ended() int64 { return t.succeeded + t.failed + t.canceled }

// retried is the number of attempts after which the job was not done.
func (t *tally) retried() int64 { return max(0, t.attempts-t.succeeded-t.failed-t.cut) }

// successRate leaves out jobs that were canceled; nil when none is left.
func (t *tally) successRate() *float64 {
	if t.succeeded+t.failed == 0 {
		return nil
	}
	return new(float64(t.succeeded) / float64(t.succeeded+t.failed))
}

// averageMS is exact; nil without attempts.
func (t *tally) averageMS() *float64 {
	if t.timed == 0 {
		return nil
	}
	return new(toMS(float64(t.us) * 1000 / float64(t.timed)))
}

func (t *tally) percentileMS(percent int64) *float64 {
	ns, ok := t.durations.percentile(percent)
	if !ok {
		return nil
	}
	return new(toMS(ns))
}
