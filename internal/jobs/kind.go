package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/cloudevents"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// Kind is what a job does. A kind is one file of its package plus one line in
// app/kinds.go.
type Kind struct {
	// Name stands in a job's kind field.
	Name string
	// Check reports every mistake of a payload, with pointers from the payload's
	// root, but for those that what is there later decides.
	Check func(payload json.RawMessage, later Later) []fault.Detail
	// Endpoint finds the endpoint that a checked payload names, so that the job can
	// be listed by it; nil when payloads of this kind name none.
	Endpoint func(payload json.RawMessage) uuid.NullUUID
	// Run makes one attempt. Its error says what to do next: nil is success, an
	// error of Permanent gives up, one of RetryAfter waits at least that long, one of
	// Snooze puts the job off as if it had not run, any other is tried again by the retry policy. ctx ends at the job's timeout, when
	// the lease is lost and when the process stops waiting. A panic is a failed
	// attempt.
	Run func(ctx context.Context, job Job) (Result, error)
	// Failed is called in the transaction in which a job of the kind is given up on by
	// its worker, with the error of its last attempt; may be nil. An error undoes all
	// outcomes of that transaction, which are then stored again.
	Failed func(ctx context.Context, tx pg.Querier, job Job, last string) error
	// External says that jobs of the kind are handed out to workers of other programs.
	// They stand in queues of their own (queue.ExternalQueue), which no Runner serves.
	External bool
	// Queue, Timeout, MaxAttempts and Retry hold for jobs that do not say otherwise;
	// an empty Queue is the default one.
	Queue       string
	Timeout     time.Duration
	MaxAttempts int
	Retry       Policy
}

// Later is what templates of a payload may speak of that is there when the job runs and
// not before.
type Later struct {
	Event  bool // the job comes of a rule
	Before bool // it waits for others, whose results it sees
}

// Any says whether there is anything.
func (l Later) Any() bool { return l.Event || l.Before }

// Job is what Run sees of a job.
type Job struct {
	ID          uuid.UUID
	Tenant      string
	Kind        string
	Queue       string
	Attempt     int // from 1
	MaxAttempts int
	Timeout     time.Duration   // of one attempt, after which ctx ends
	Payload     json.RawMessage // nil when the job has none
	Event       *Event          // the event that made the job, if one did
	Before      []Before        // the jobs that it waited for; nil when it did not
	RuleID      uuid.NullUUID
	EndpointID  uuid.NullUUID
	CreatedAt   time.Time

	flight *flight // nil when no Runner runs it
}

// Event is what a job may use of its event.
type Event struct {
	ID      uuid.UUID
	Type    string
	Source  string
	Subject string
	Time    time.Time
	// Data are JSON: the bytes as they were accepted, or a string where they are other
	// text; nil when there are none and when they are other bytes.
	Data json.RawMessage

	SenderID   string                 // the id that the sender gave; may be empty
	CloudEvent cloudevents.Attributes // what else a CloudEvent said
	Opaque     []byte                 // data that are not JSON, as they were accepted; nil where they are
}

// Result is what an attempt leaves on record.
type Result struct {
	// Exchange is set by kinds that speak HTTP.
	Exchange *Exchange
	// Value is what the job came to: JSON of at most MaxResult bytes that is shown
	// with the job and is there for those who read it later. It is kept of an attempt
	// that succeeded; nil is none.
	Value json.RawMessage
}

// MaxResult bounds the value of a result, in bytes.
const MaxResult = 64 << 10

// Exchange is one HTTP request and what came back. Secrets are left out by the
// kind that made it.
type Exchange struct {
	Method         string            `json:"method" doc:"HTTP method of the request"`
	URL            string            `json:"url" doc:"Where the request went"`
	RequestHeaders map[string]string `json:"request_headers,omitempty" doc:"Headers sent; signatures and secrets are left out"`
	RequestBody    string            `json:"request_body,omitempty" doc:"Start of the body sent; kept of attempts that failed"`
	RemoteAddress  string            `json:"remote_address,omitempty" doc:"Address and port that were connected to; absent when no connection was made"`
	Protocol       string            `json:"protocol,omitempty" doc:"HTTP version of the response" example:"HTTP/2.0"`
	Status         int               `json:"status,omitempty" doc:"HTTP status of the response; absent when none came"`
	Headers        map[string]string `json:"headers,omitempty" doc:"Headers of the response"`
	Body           string            `json:"body,omitempty" doc:"Start of the response body"`
	Truncated      bool              `json:"truncated,omitempty" doc:"The response body was longer than what is kept, or did not come to its end"`
	ErrorClass     string            `json:"error_class,omitempty" enum:"blocked,dns,refused,unreachable,tls,reset,timeout,protocol,other" doc:"Why no response came"`
	Timings        Timings           `json:"timings" doc:"Where the time went"`
	Batch          *ExchangeBatch    `json:"batch,omitempty" doc:"Set when the request had several webhooks; the bodies are kept with the first"`
}

// ExchangeBatch is a request that had several webhooks.
type ExchangeBatch struct {
	ID   string `json:"id" doc:"Its webhook-id"`
	Size int    `json:"size" doc:"How many webhooks it had"`
}

// Timings split the time of an exchange, in milliseconds. What did not happen takes
// no time: a connection that is used again was neither looked up nor made.
type Timings struct {
	DNS       float64 `json:"dns_ms" doc:"Looking the name up"`
	Connect   float64 `json:"connect_ms" doc:"Connecting to the address"`
	TLS       float64 `json:"tls_ms" doc:"TLS handshake"`
	FirstByte float64 `json:"first_byte_ms" doc:"From the start to the first byte of the response; 0 when none came"`
	Total     float64 `json:"total_ms" doc:"From the start to the end of the response, or to the error"`
	Reused    bool    `json:"reused" doc:"An open connection was used again"`
}

// Permanent marks an error that no further attempt can mend.
func Permanent(err error) error { return &verdict{err: err, permanent: true} }

// Permanentf is Permanent of a formatted error.
func Permanentf(format string, args ...any) error { return Permanent(fmt.Errorf(format, args...)) }

// RetryAfter marks an error whose cause asked to be left alone for d. The next
// attempt comes no sooner.
func RetryAfter(d time.Duration, err error) error { return &verdict{err: err, after: d} }

// Snooze puts a job off by d without an attempt: it is as if it had not run. err
// says why, for the log.
func Snooze(d time.Duration, err error) error { return &verdict{err: err, after: d, snooze: true} }

// Throttled is RetryAfter of an attempt that was turned away without having been tried.
// It is on record but does not count, MaxSpared times in the life of a job, which begins
// anew when the job is taken up again.
func Throttled(d time.Duration, err error) error {
	return &verdict{err: err, after: d, throttled: true}
}

// MaxSpared is how many claims of a job may come to nothing without that its
// throttled attempts count.
const MaxSpared = 20

// WithPolicy lets the retry policy and the limits of whoever is delivered to decide
// about a job that has no policy of its own. Zero fields leave the job's.
func WithPolicy(p Override, err error) error {
	if err == nil {
		return nil
	}
	v := &verdict{err: err}
	if inner, ok := errors.AsType[*verdict](err); ok {
		*v = *inner
	}
	v.override = &p
	return v
}

// Override replaces what a job has of its kind.
type Override struct {
	Retry       *Policy
	MaxAttempts int
	MaxAge      time.Duration // since the job was made; no attempt begins later
}

// verdict is an error that says what to do next.
type verdict struct {
	err       error
	permanent bool
	snooze    bool
	throttled bool
	after     time.Duration
	override  *Override
}

func (v *verdict) Error() string { return v.err.Error() }
func (v *verdict) Unwrap() error { return v.err }

// IsPermanent says whether err was marked by Permanent.
func IsPermanent(err error) bool {
	v, ok := errors.AsType[*verdict](err)
	return ok && v.permanent
}

func isSnooze(err error) bool {
	v, ok := errors.AsType[*verdict](err)
	return ok && v.snooze
}

func isThrottled(err error) bool {
	v, ok := errors.AsType[*verdict](err)
	return ok && v.throttled
}

// overrideOf gives what err was marked with by WithPolicy.
func overrideOf(err error) Override {
	if v, ok := errors.AsType[*verdict](err); ok && v.override != nil {
		return *v.override
	}
	return Override{}
}

// AskedDelay gives the wait that err was marked with by RetryAfter, Throttled or
// Snooze, or 0.
func AskedDelay(err error) time.Duration {
	if v, ok := errors.AsType[*verdict](err); ok {
		return v.after
	}
	return 0
}

// Registry finds a kind by its name.
type Registry struct {
	kinds map[string]Kind
	names []string
}

// NewRegistry takes the list of kinds. It panics on a name that stands twice or a
// kind without limits: both are mistakes of the program.
func NewRegistry(kinds ...Kind) *Registry {
	r := &Registry{kinds: make(map[string]Kind, len(kinds))}
	for _, k := range kinds {
		if _, twice := r.kinds[k.Name]; twice || k.Name == "" || k.Run == nil || k.Timeout <= 0 || k.MaxAttempts <= 0 {
			panic("jobs: kind " + k.Name + " stands twice or lacks a name, Run, Timeout or MaxAttempts")
		}
		r.kinds[k.Name] = k
		r.names = append(r.names, k.Name)
	}
	return r
}

// Get gives the kind of a name.
func (r *Registry) Get(name string) (Kind, bool) {
	k, ok := r.kinds[name]
	return k, ok
}

// Names lists the kinds in the order of the table of contents.
func (r *Registry) Names() []string { return r.names }
