package external

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// Bounds of what a worker may ask for.
const (
	maxWait     = time.Minute
	minLease    = 5 * time.Second
	maxLease    = time.Hour
	maxAhead    = 10 * 366 * 24 * time.Hour
	maxProgress = 8 << 10
	maxError    = 8 << 10

	defaultLease = time.Minute
)

// ClaimRequest is what a worker asks for.
type ClaimRequest struct {
	Queues []string `json:"queues,omitempty" minItems:"1" maxItems:"20" nullable:"false" doc:"Whose jobs, in no order of preference; NAME is the queue external:NAME of jobs of the kind external that named it. Default: external"`
	Kinds  []string `json:"kinds,omitempty" minItems:"1" maxItems:"20" nullable:"false" doc:"Kinds that the worker can do; external is the only one that is handed out"`
	Max    *int     `json:"max,omitempty" minimum:"1" maximum:"1000" doc:"How many jobs at most; default 1"`
	Wait   string   `json:"wait,omitempty" doc:"How long to wait for the first job, from 0s to 1m; default 0s" example:"30s"`
	Lease  string   `json:"lease,omitempty" doc:"How long the jobs are the worker's, unless it extends that, from 5s to 1h, and not beyond a job's timeout; default 1m" example:"1m"`
	Worker string   `json:"worker,omitempty" doc:"What the worker calls itself; GET /jobs/{id} shows it" example:"resizer-7"`
	Tenant string   `json:"tenant,omitempty" doc:"Whose jobs only; default: everybody's"`
}

// Validate gives the mistakes that the schema does not know, and what only the list of
// kinds can tell.
func (r ClaimRequest) Validate() []fault.Detail {
	mistakes := httpapi.CheckText("/worker", r.Worker, 100)
	mistakes = append(mistakes, httpapi.CheckName("/tenant", r.Tenant)...)
	for i, name := range r.Queues {
		at := "/queues/" + strconv.Itoa(i)
		if name == "" {
			mistakes = append(mistakes, fault.Detail{Pointer: at, Detail: "must not be empty"})
		}
		mistakes = append(mistakes, httpapi.CheckName(at, name)...)
	}
	mistakes = append(mistakes, checkDuration("/wait", r.Wait, 0, maxWait)...)
	return append(mistakes, checkDuration("/lease", r.Lease, minLease, maxLease)...)
}

func checkDuration(pointer, text string, least, most time.Duration) []fault.Detail {
	if d, err := time.ParseDuration(text); text == "" || err == nil && least <= d && d <= most {
		return nil
	}
	return []fault.Detail{{Pointer: pointer, Detail: fmt.Sprintf("must be a duration such as 90s or 1h30m, from %s to %s", least, most)}}
}

// durationOf reads a checked duration.
func durationOf(text string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(text); err == nil {
		return d
	}
	return otherwise
}

// checkKinds gives the mistakes of the kinds asked for.
func checkKinds(kinds *jobs.Registry, asked []string) []fault.Detail {
	var mistakes []fault.Detail
	for i, name := range asked {
		if kind, known := kinds.Get(name); !known || !kind.External {
			mistakes = append(mistakes, fault.Detail{
				Pointer: "/kinds/" + strconv.Itoa(i),
				Detail:  "is not handed out; the kinds that are: " + strings.Join(kinds.External(), ", "),
			})
		}
	}
	return mistakes
}

// ask is the claim of a checked request. A key that is bound to a tenant will decide
// about it here.
func (r ClaimRequest) ask() *ask {
	a := &ask{group: group{worker: r.Worker, tenant: r.Tenant, lease: durationOf(r.Lease, defaultLease)}, max: 1}
	if r.Max != nil {
		a.max = *r.Max
	}
	for _, name := range r.Queues {
		if name = queue.ExternalQueue(name); !slices.Contains(a.queues, name) {
			a.queues = append(a.queues, name)
		}
	}
	if len(a.queues) == 0 {
		a.queues = []string{queue.ExternalQueue("")}
	}
	return a
}

// ClaimedJob is a job in the hands of a worker.
type ClaimedJob struct {
	Lease       string        `json:"lease" doc:"The name of the worker's right to this attempt: what it says of the job goes to /leases/{lease}"`
	LeaseUntil  time.Time     `json:"lease_until" doc:"When the job goes to another worker unless the lease is extended"`
	Deadline    time.Time     `json:"deadline" doc:"When the attempt has taken as long as the job's timeout lets it; no extension goes on after it"`
	ID          uuid.UUID     `json:"id" doc:"The job's id, the same on every attempt: what to deduplicate on"`
	Tenant      string        `json:"tenant"`
	Kind        string        `json:"kind"`
	Queue       string        `json:"queue"`
	Priority    int           `json:"priority"`
	Attempt     int           `json:"attempt" doc:"From 1"`
	MaxAttempts int           `json:"max_attempts"`
	OrderingKey string        `json:"ordering_key,omitempty"`
	CreatedAt   time.Time     `json:"created_at"`
	Payload     httpapi.JSON  `json:"payload,omitempty" doc:"Absent when the job has none; one that a rule made may work on the event's data"`
	Before      []jobs.Before `json:"before,omitempty" doc:"The jobs that it waited for, the first 1,000, with their results as far as these have 1 MiB, and 16 MiB in one claim"`
	Event       *ClaimEvent   `json:"event,omitempty" doc:"The event that made the job"`
}

// ClaimEvent is the event of a job in the hands of a worker.
type ClaimEvent struct {
	ID         uuid.UUID    `json:"id"`
	Type       string       `json:"type"`
	Source     string       `json:"source"`
	Subject    string       `json:"subject,omitempty"`
	Time       time.Time    `json:"time"`
	Data       httpapi.JSON `json:"data,omitempty"`
	DataBase64 []byte       `json:"data_base64,omitempty" doc:"Data that are neither JSON nor text"`
}

// claimedJob shows a claimed job to its worker.
func claimedJob(key []byte, c *queue.Claimed, before []jobs.Before, lease time.Duration) ClaimedJob {
	j := ClaimedJob{
		Lease: token(key, heldOf(c)), LeaseUntil: c.StartedAt.Add(min(lease, timeoutOf(c))).UTC(), Deadline: c.StartedAt.Add(timeoutOf(c)).UTC(),
		ID: c.ID, Tenant: c.Tenant, Kind: c.Kind, Queue: c.Queue, Priority: c.Priority, Attempt: c.Attempt, MaxAttempts: c.MaxAttempts,
		OrderingKey: c.OrderingKey, CreatedAt: c.CreatedAt.UTC(), Payload: c.Payload, Before: before,
	}
	if e := jobs.JobOf(c).Event; e != nil {
		j.Event = &ClaimEvent{ID: e.ID, Type: e.Type, Source: e.Source, Subject: e.Subject, Time: e.Time.UTC(), Data: httpapi.JSON(e.Data)}
		if len(e.Data) == 0 {
			j.Event.DataBase64 = e.Opaque
		}
	}
	return j
}
