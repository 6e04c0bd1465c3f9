package expression

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/itchyny/gojq"
)

// Limits of a transform.
const (
	maxTransform = 8192      // bytes of the program
	maxResult    = 256 << 10 // bytes of the result
	maxRun       = 100 * time.Millisecond
	maxAllocated = 128 << 20 // bytes that the process allocates during a run, whoever does
	// A process that is not given the processor must not fail the transforms of
	// honest people: a run that has done little may take longer.
	fewSteps   = 10_000
	maxSlowRun = time.Second
	watchEvery = 64 // steps between two looks at the clock and the memory
)

// slots bounds the transforms that run at once in this process, and so what they can
// allocate together. It is the one thing here that is shared by all.
var slots = make(chan struct{}, runtime.GOMAXPROCS(0))

// Transform is a compiled jq program. It may be used by many goroutines.
type Transform struct{ code *gojq.Code }

// CompileTransform compiles a program. The error says what is wrong and where.
func CompileTransform(source string) (*Transform, error) {
	if len(source) > maxTransform {
		return nil, fmt.Errorf("must have at most %d bytes", maxTransform)
	}
	query, err := gojq.Parse(source)
	if err != nil {
		return nil, explainSyntax(source, err)
	}
	if err := guard(query); err != nil {
		return nil, err
	}
	code, err := gojq.Compile(query, guards()...)
	if err != nil {
		return nil, fmt.Errorf("is no transform: %w", err)
	}
	return &Transform{code}, nil
}

func explainSyntax(source string, err error) error {
	syntax, ok := errors.AsType[*gojq.ParseError](err)
	if !ok {
		return fmt.Errorf("is no jq program: %w", err)
	}
	at := max(0, min(syntax.Offset-len(syntax.Token), len(source)))
	line, column := 1, 1
	for _, r := range source[:at] {
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	return fmt.Errorf("is no jq program: line %d, column %d: %s", line, column, cut(err.Error()))
}

// Apply gives the one value that the program makes of an event, as JSON. Objects come
// with their keys in order, numbers as they were written.
func (t *Transform) Apply(e *Event) (json.RawMessage, error) {
	var result json.RawMessage
	err := e.timed(func(root map[string]any) (err error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		defer func() { // what the interpreter did not expect is no reason to die
			if p := recover(); p != nil {
				err = fmt.Errorf("the interpreter failed: %s", cut(fmt.Sprint(p)))
			}
		}()
		result, err = t.run(root)
		return err
	})
	return result, err
}

func (t *Transform) run(root map[string]any) (json.RawMessage, error) {
	w := newWatch()
	results := t.code.RunWithContext(w, root)
	value, ok := results.Next()
	if !ok {
		return nil, errors.New("it gave no result, and must give one")
	}
	if err, failed := value.(error); failed {
		return nil, explainRun(err)
	}
	if _, more := results.Next(); more {
		if w.err != nil {
			return nil, w.err
		}
		return nil, errors.New("it gave more than one result; collect them in [ ]")
	}
	if err := bound(value); err != nil {
		return nil, err
	}
	result, err := gojq.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("write the result: %w", err)
	}
	if len(result) > maxResult {
		return nil, fmt.Errorf("its result has %d bytes, and may have %d", len(result), maxResult)
	}
	return result, nil
}

func explainRun(err error) error {
	if halted, ok := errors.AsType[*gojq.HaltError](err); ok && halted.Value() == nil {
		return errors.New("it gave no result, and must give one")
	}
	return errors.New(cut(err.Error()))
}

// watch is the context of a run. The interpreter asks it for Done before each of its
// instructions, which is where it counts and looks.
type watch struct {
	context.Context
	begun     time.Time
	steps     int
	allocated uint64
	sample    [1]metrics.Sample
	ended     chan struct{} // closed once err is set
	err       error
}

func newWatch() *watch {
	w := &watch{Context: context.TODO(), begun: time.Now()}
	w.sample[0].Name = "/gc/heap/allocs:bytes"
	metrics.Read(w.sample[:])
	w.allocated = w.sample[0].Value.Uint64()
	return w
}

// Done is nil, which is never ready, as long as the run may go on.
func (w *watch) Done() <-chan struct{} {
	if w.steps++; w.steps%watchEvery == 0 && w.err == nil {
		if w.err = w.look(); w.err != nil {
			w.ended = make(chan struct{})
			close(w.ended)
		}
	}
	return w.ended
}

// Err says why the run ended.
func (w *watch) Err() error { return w.err }

func (w *watch) look() error {
	if took := time.Since(w.begun); took > maxSlowRun || took > maxRun && w.steps > fewSteps {
		return fmt.Errorf("it took longer than %s", maxRun)
	}
	metrics.Read(w.sample[:])
	if w.sample[0].Value.Uint64()-w.allocated > maxAllocated {
		return fmt.Errorf("it used more than %d MiB of memory", maxAllocated>>20)
	}
	return nil
}
