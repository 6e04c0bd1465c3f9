package outbound

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/signalstack/signalstack/internal/jobs"
)

// stopwatch takes the times of one exchange. Its hooks may still be called when the
// exchange is over: a dial that lost a race goes on in the background.
type stopwatch struct {
	begun time.Time

	mu                         sync.Mutex
	lookup, dialing, handshake time.Time // zero: not under way
	timings                    jobs.Timings
	remote                     string
}

// startWatch gives a context whose request is timed.
func startWatch(ctx context.Context) (context.Context, *stopwatch) {
	w := &stopwatch{begun: time.Now()}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { w.start(&w.lookup) },
		DNSDone:              func(httptrace.DNSDoneInfo) { w.end(&w.lookup, &w.timings.DNS) },
		ConnectStart:         func(string, string) { w.start(&w.dialing) },
		ConnectDone:          w.connected,
		TLSHandshakeStart:    func() { w.start(&w.handshake) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { w.end(&w.handshake, &w.timings.TLS) },
		GotConn:              w.gotConn,
		GotFirstResponseByte: w.firstByte,
	}), w
}

// start notes the beginning of a step. Where addresses are tried side by side the
// first one begins it.
func (w *stopwatch) start(step *time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if step.IsZero() {
		*step = time.Now()
	}
}

func (w *stopwatch) end(step *time.Time, took *float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !step.IsZero() {
		*took = milliseconds(time.Since(*step))
	}
}

// connected notes the address that a failed attempt tried last, too: an operator
// wants to know which one refused.
func (w *stopwatch) connected(_, address string, err error) {
	w.end(&w.dialing, &w.timings.Connect)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.remote == "" || err == nil {
		w.remote = address
	}
}

func (w *stopwatch) gotConn(got httptrace.GotConnInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remote, w.timings.Reused = got.Conn.RemoteAddr().String(), got.Reused
	if got.Reused {
		// A dial that was begun for this request and came too late is another's now.
		w.timings.DNS, w.timings.Connect, w.timings.TLS = 0, 0, 0
	}
}

func (w *stopwatch) firstByte() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timings.FirstByte = milliseconds(time.Since(w.begun))
}

// stop ends the watch and puts what it saw on record. Later hooks change nothing of
// the record.
func (w *stopwatch) stop(e *jobs.Exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timings.Total = milliseconds(time.Since(w.begun))
	e.Timings, e.RemoteAddress = w.timings, w.remote
}

// milliseconds gives a time in milliseconds, to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
