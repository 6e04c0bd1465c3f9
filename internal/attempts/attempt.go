package attempts

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/jobs"
)

// Logged is one try at a job that has ended.
type Logged struct {
	JobID         uuid.UUID     `db:"job_id" json:"job_id"`
	Lease         int64         `db:"lease" json:"lease" doc:"Names the attempt of the job: it grows with each one and is never given twice"`
	Attempt       int           `db:"attempt" json:"attempt" doc:"Number of the attempt, from 1; one that was throttled has the number of the next"`
	Tenant        string        `db:"tenant" json:"tenant"`
	Kind          string        `db:"kind" json:"kind"`
	Queue         string        `db:"queue" json:"queue"`
	State         string        `db:"state" json:"state" enum:"succeeded,failed,canceled,retrying" doc:"The state it left the job in"`
	Outcome       string        `db:"outcome" json:"outcome" enum:"succeeded,error,permanent,timeout,panic,crashed,canceled,throttled"`
	Error         string        `db:"error" json:"error,omitempty"`
	Status        *int          `db:"status" json:"status,omitempty" doc:"HTTP status of the response; absent when none came"`
	ErrorClass    *string       `db:"error_class" json:"error_class,omitempty" enum:"blocked,dns,refused,unreachable,tls,reset,timeout,protocol,other" doc:"Why no response came"`
	Method        string        `db:"-" json:"method,omitempty" doc:"HTTP method of the request, while the exchange is kept"`
	URL           string        `db:"-" json:"url,omitempty" doc:"Where the request went, while the exchange is kept; parameters that name a secret are hidden"`
	RemoteAddress string        `db:"-" json:"remote_address,omitempty" doc:"Address and port that were connected to, while the exchange is kept"`
	StartedAt     time.Time     `db:"started_at" json:"started_at"`
	FinishedAt    time.Time     `db:"finished_at" json:"finished_at"`
	DurationMS    int64         `db:"duration_ms" json:"duration_ms" doc:"As the worker measured it"`
	Timings       *jobs.Timings `db:"-" json:"timings,omitempty" doc:"Where the time went, while the exchange is kept"`
	NextAttemptAt *time.Time    `db:"next_attempt_at" json:"next_attempt_at,omitempty" doc:"Of the newest attempt of a job that waits: when the next one is due"`
	Worker        uuid.UUID     `db:"worker" json:"worker" doc:"The worker process that made it"`
	EventID       *uuid.UUID    `db:"event_id" json:"event_id,omitempty" doc:"The event that made the job"`
	EventType     string        `db:"event_type" json:"event_type,omitempty"`
	RuleID        *uuid.UUID    `db:"rule_id" json:"rule_id,omitempty" doc:"The rule that made the job"`
	EndpointID    *uuid.UUID    `db:"endpoint_id" json:"endpoint_id,omitempty" doc:"Where the job delivers to"`
	JobCreatedAt  time.Time     `db:"job_created_at" json:"job_created_at"`

	// Exchange is there when it was asked for.
	Exchange *jobs.Exchange `db:"-" json:"exchange,omitempty" doc:"Request and response with headers and bodies; absent of kinds that speak no HTTP, and when its period is over"`

	Record []byte `db:"exchange" json:"-"`
}

// unpack reads the exchange. One that an older binary wrote has its status nowhere else.
func (a *Logged) unpack() {
	var e jobs.Exchange
	if len(a.Record) == 0 || json.Unmarshal(a.Record, &e) != nil {
		return
	}
	a.Record, a.Exchange = nil, &e
	a.Method, a.URL, a.RemoteAddress, a.Timings = e.Method, e.URL, e.RemoteAddress, &e.Timings
	if a.Status == nil && e.Status != 0 {
		a.Status = &e.Status
	}
	if a.ErrorClass == nil && e.ErrorClass != "" {
		a.ErrorClass = &e.ErrorClass
	}
}

// says whether the text, in lower case, is in the error, the URL or the body of the
// response.
func (a *Logged) says(text string) bool {
	return strings.Contains(lower(a.Error), text) ||
		a.Exchange != nil && (strings.Contains(lower(a.Exchange.URL), text) || strings.Contains(lower(a.Exchange.Body), text))
}

// lower makes letters of ASCII small, as PostgreSQL does under the collation "C": what
// it makes of others depends on the server.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}
