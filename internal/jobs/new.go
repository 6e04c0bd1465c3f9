package jobs

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/queue"
)

// NewJob is what a client may say of a job.
type NewJob struct {
	Options
	Kind           string       `json:"kind" minLength:"1" doc:"What the job does" example:"http"`
	Payload        httpapi.JSON `json:"payload,omitempty" doc:"What the kind works on"`
	RunAt          string       `json:"run_at,omitempty" format:"date-time" doc:"Not before this time, at most ten years ahead; a time in the past runs now"`
	IdempotencyKey *string      `json:"idempotency_key,omitempty" doc:"Makes the request safe to send again; as the Idempotency-Key header"`
	OrderingKey    string       `json:"ordering_key,omitempty" doc:"Jobs of one tenant with this key run one after the other: the next when the one before has ended, however it did" maxLength:"255"`
	OnFailure      string       `json:"on_failure,omitempty" enum:"block,skip" doc:"What becomes of the jobs behind it in its ordering_key while it is tried again: block has them wait for its end (default), with skip they come when its first attempt has failed, and it is tried again beside them"`
	LimitKey       string       `json:"limit_key,omitempty" doc:"Gives the job a lane, and with PUT /limits a limit, that it shares with jobs of this key" maxLength:"255"`
	Ref            string       `json:"ref,omitempty" doc:"A name by which other items of the same array say in after that they wait for this one"`
	After          []string     `json:"after,omitempty" maxItems:"10000" nullable:"false" doc:"Jobs that must have ended before this one runs: their ids, refs of items of the same array, or * for all other items. run_at holds besides, and delay counts from the last end"`
	AfterOutcome   string       `json:"after_outcome,omitempty" enum:"success,any" doc:"How those must end: success (default), and when one of them fails or is canceled this job is canceled; or any"`
	Unique         *Unique      `json:"unique,omitempty" doc:"Keeps the job from standing beside another of the same key"`
	Tenant         string       `json:"tenant,omitempty" doc:"Whose the job is; default: the caller's"`
}

// Validate gives every mistake but those that need the list of kinds.
func (n NewJob) Validate() []fault.Detail {
	mistakes := n.Options.Validate()
	mistakes = append(mistakes, httpapi.CheckName("/tenant", n.Tenant)...)
	mistakes = append(mistakes, httpapi.CheckText("/ordering_key", n.OrderingKey, MaxOrderingKey)...)
	mistakes = append(mistakes, CheckOnFailure(n.OnFailure, n.OrderingKey)...)
	mistakes = append(mistakes, httpapi.CheckText("/limit_key", n.LimitKey, 255)...)
	mistakes = append(mistakes, n.Unique.check()...)
	mistakes = append(mistakes, n.checkAfter()...)
	runAt, wrong := httpapi.ParseTime("/run_at", n.RunAt)
	mistakes = append(mistakes, wrong...)
	if time.Until(runAt) > maxAhead {
		mistakes = append(mistakes, fault.Detail{Pointer: "/run_at", Detail: "must be at most ten years ahead"})
	}
	if n.RunAt != "" && n.Delay != "" {
		mistakes = append(mistakes, fault.Detail{Pointer: "/delay", Detail: "must not stand beside run_at; send one of them"})
	}
	if n.IdempotencyKey != nil {
		if wrong := idempotency.Check(*n.IdempotencyKey); wrong != "" {
			mistakes = append(mistakes, fault.Detail{Pointer: "/idempotency_key", Detail: wrong})
		}
	}
	return mistakes
}

// MaxOrderingKey is the longest ordering key, in characters.
const MaxOrderingKey = 255

// What on_failure may be; nothing is OnFailureBlock.
const (
	OnFailureBlock = "block"
	OnFailureSkip  = "skip"
)

// CheckOnFailure gives the mistake of an on_failure that means nothing.
func CheckOnFailure(onFailure, orderingKey string) []fault.Detail {
	if onFailure == "" || orderingKey != "" {
		return nil
	}
	return []fault.Detail{{Pointer: "/on_failure", Detail: "goes with an ordering_key; send one, or leave it out"}}
}

// CheckKind gives the mistakes of a kind's name and its payload.
func (r *Registry) CheckKind(name string, payload httpapi.JSON, later Later) []fault.Detail {
	if name == "" {
		return []fault.Detail{{Pointer: "/kind", Detail: "is required"}}
	}
	kind, known := r.kinds[name]
	if !known {
		return []fault.Detail{{Pointer: "/kind", Detail: fmt.Sprintf("is not a kind known here; the kinds are %s", strings.Join(r.names, ", "))}}
	}
	var mistakes []fault.Detail
	for _, m := range kind.Check([]byte(payload), later) {
		mistakes = append(mistakes, fault.Detail{Pointer: "/payload" + m.Pointer, Detail: m.Detail})
	}
	return mistakes
}

// Build makes the job of a valid NewJob, with a fresh id.
func (r *Registry) Build(n NewJob, tenant string) queue.NewJob {
	runAt, _ := httpapi.ParseTime("", n.RunAt)
	job := queue.NewJob{
		ID: uuid.Must(uuid.NewV7()), Tenant: tenant, Kind: n.Kind, RunAt: runAt,
		Payload: n.Payload, OrderingKey: n.OrderingKey, Skips: n.OnFailure == OnFailureSkip, LimitKey: n.LimitKey,
	}
	r.Fill(&job, n.Options)
	if r.kinds[n.Kind].Endpoint != nil {
		job.EndpointID = r.kinds[n.Kind].Endpoint([]byte(n.Payload))
	}
	return job
}
