package intake

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
)

// Item is one value of a request with the keys that protect it.
type Item[T any] struct {
	Value T
	Keys  []idempotency.Reservation
	// Alone names what no other item of the same transaction may have to do with; the
	// zero key is nothing. The later item is then committed after the first.
	Alone idempotency.Key
	// Refusal is what was found wrong with the item before; its value is not looked at.
	Refusal error

	verdict verdict
	status  int
	answer  []byte
	err     error
	same    *Item[T] // of verdict repeated: the item that this one says again
}

// Refused makes an item that will not be stored.
func Refused[T any](why error) *Item[T] { return &Item[T]{Refusal: why} }

type verdict int

const (
	undecided verdict = iota
	fresh
	replayed
	repeated // of an earlier item of the request
	refused
)

// Request is one caller's items.
type Request[T any] struct {
	Items  []*Item[T]
	Array  bool // the answer is a list
	Atomic bool // all items are stored or none
	// Key protects an array as a whole; nil does not.
	Key *idempotency.Reservation

	boarded []idempotency.Key // those that are in flight because of this request
	reply   *Reply            // once it is known
	err     error             // nothing of the request is stored
}

// Reply is what a caller gets.
type Reply struct {
	Status   int
	Body     []byte // JSON
	Replayed bool   // it was given before
}

func (r *Request[T]) reset() {
	r.reply, r.err = nil, nil
	for _, item := range r.Items {
		item.verdict, item.status, item.answer, item.err, item.same = undecided, 0, nil, nil, nil
	}
}

// settled says that there is nothing to store.
func (r *Request[T]) settled() bool { return r.err != nil || r.reply != nil }

// refuse settles the request when its refused items sink it, which one does to a
// single value and to an atomic array, and all do to any.
func (r *Request[T]) refuse() {
	n := 0
	for _, item := range r.Items {
		if item.verdict == refused {
			n++
		}
	}
	if n == len(r.Items) || n > 0 && (r.Atomic || !r.Array) {
		r.err = r.refusal()
	}
}

// refusedAlready is the fault of a request that its refused items sink.
func (r *Request[T]) refusedAlready() error {
	for _, item := range r.Items {
		if item.Refusal != nil {
			item.verdict, item.err = refused, item.Refusal
		}
	}
	r.refuse()
	return r.err
}

// refusal is the fault of all refused items together.
func (r *Request[T]) refusal() error {
	var first *fault.Error
	var details []fault.Detail
	alike := true
	for i, item := range r.Items {
		if item.err == nil {
			continue
		}
		if !r.Array {
			return item.err
		}
		f := r.faultOf(i)
		if first == nil {
			first = f
		}
		alike = alike && f.Kind == first.Kind && f.Code == first.Code
		details = append(details, f.Details...)
	}
	if !alike {
		return fault.InvalidBody(details)
	}
	all := *first
	all.Details = details
	return &all
}

// faultOf gives what is wrong with an item of an array, with pointers from the root
// of the body.
func (r *Request[T]) faultOf(i int) *fault.Error {
	f := fault.As(r.Items[i].err)
	if f == nil {
		f = fault.New(fault.Internal, "internal", "The server failed.")
	}
	about := *f
	about.Details = nil
	root := "/" + strconv.Itoa(i)
	for _, d := range f.Details {
		about.Details = append(about.Details, fault.Detail{Pointer: root + d.Pointer, Detail: d.Detail})
	}
	if len(f.Details) == 0 {
		about.Details = []fault.Detail{{Pointer: root, Detail: f.Message}}
	}
	return &about
}

// result is what the answer to an array says of a refused item. Accepted ones have
// index and status before the fields of what was made.
type result struct {
	Index  int              `json:"index"`
	Status int              `json:"status"`
	Error  *httpapi.Problem `json:"error"`
}

// answered gives the reply to a request whose items are decided.
func (r *Request[T]) answered() Reply {
	if !r.Array {
		item := r.Items[0]
		return Reply{Status: item.status, Body: item.answer, Replayed: item.verdict == replayed}
	}
	reply := Reply{Status: http.StatusCreated, Replayed: true}
	var b bytes.Buffer
	b.WriteString(`{"data":[`)
	for i, item := range r.Items {
		if i > 0 {
			b.WriteByte(',')
		}
		if item.verdict == refused {
			reply.Status, reply.Replayed = http.StatusMultiStatus, false
			r.writeRefused(&b, i)
			continue
		}
		again := item.verdict == replayed || item.verdict == repeated
		reply.Replayed = reply.Replayed && item.verdict == replayed
		item.write(&b, i, again)
	}
	b.WriteString(`]}`)
	reply.Body = b.Bytes()
	return reply
}

func (r *Request[T]) writeRefused(b *bytes.Buffer, i int) {
	p := httpapi.ProblemOf(r.faultOf(i))
	text, err := json.Marshal(result{Index: i, Status: p.Status, Error: p})
	if err != nil {
		panic("intake: a problem does not marshal: " + err.Error())
	}
	b.Write(text)
}

// write puts the item's place and status before the fields of its answer, which is
// a JSON object that has some.
func (item *Item[T]) write(b *bytes.Buffer, i int, again bool) {
	status, answer := item.status, item.answer
	if item.verdict == repeated {
		status, answer = item.same.status, item.same.answer
	}
	b.WriteString(`{"index":` + strconv.Itoa(i) + `,"status":` + strconv.Itoa(status) + `,`)
	if again {
		b.WriteString(`"replayed":true,`)
	}
	b.Write(answer[1:])
}
