package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
)

// Kind runs the commands of a configuration: by name, the path of a program and its
// arguments.
func Kind(commands map[string][]string) jobs.Kind {
	decode := httpapi.ObjectDecoder[payload]()
	return jobs.Kind{
		Name: "command", Timeout: time.Minute, MaxAttempts: 3, Retry: jobs.DefaultPolicy(),
		Check: func(raw json.RawMessage, _ jobs.Later) []fault.Detail {
			p, mistakes := decode(raw)
			if _, known := commands[p.Command]; len(mistakes) == 0 && !known {
				names := slices.Sorted(maps.Keys(commands))
				mistakes = append(mistakes, fault.Detail{Pointer: "/command", Detail: "is not configured; the commands are " + strings.Join(names, ", ")})
			}
			return mistakes
		},
		Run: func(ctx context.Context, job jobs.Job) (jobs.Result, error) {
			var p payload
			if err := json.Unmarshal(job.Payload, &p); err != nil {
				return jobs.Result{}, jobs.Permanentf("read the payload: %w", err)
			}
			words, known := commands[p.Command]
			if !known {
				return jobs.Result{}, fmt.Errorf("the command %q is not configured on this worker (SIGNALSTACK_COMMANDS)", p.Command)
			}
			return run(ctx, words, inputOf(p, job), environ(job))
		},
	}
}

// payload is what a job says of its command.
type payload struct {
	Command string       `json:"command" minLength:"1" doc:"Name of a command of the configuration"`
	Data    httpapi.JSON `json:"data,omitempty" doc:"What it reads from stdin; default: the event's data"`
}

func inputOf(p payload, job jobs.Job) []byte {
	switch {
	case len(p.Data) > 0:
		return p.Data
	case job.Event == nil:
		return nil
	case len(job.Event.Opaque) > 0:
		return job.Event.Opaque
	}
	return job.Event.Data
}

// environ is all that a command learns from its environment.
func environ(job jobs.Job) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"SIGNALSTACK_JOB_ID=" + job.ID.String(),
		"SIGNALSTACK_TENANT=" + job.Tenant,
		"SIGNALSTACK_ATTEMPT=" + strconv.Itoa(job.Attempt),
	}
	if job.Event != nil {
		env = append(env, "SIGNALSTACK_EVENT_ID="+job.Event.ID.String(), "SIGNALSTACK_EVENT_TYPE="+job.Event.Type)
	}
	return env
}

const (
	// What is kept of the output: in JSON, where a byte may take six, it stays below
	// jobs.MaxResult.
	keptOut = 8 << 10
	keptErr = 2 << 10
	// termTime is what a command has between SIGTERM and SIGKILL.
	termTime = 5 * time.Second
)

// exit codes of sysexits.h that no further attempt would change.
var permanent = []int{64, 65, 78}

// result is what a job shows of its command.
type result struct {
	ExitCode  int    `json:"exit_code"`
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	Truncated bool   `json:"truncated,omitempty"` // there was more output
}

func run(ctx context.Context, words []string, input []byte, env []string) (jobs.Result, error) {
	out, errs := &head{most: keptOut}, &tail{most: keptErr}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...) //nolint:gosec // the operator named it
	cmd.Env, cmd.Dir = env, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, errs
	cmd.WaitDelay = termTime
	group(cmd)
	if err := cmd.Start(); err != nil {
		return jobs.Result{}, fmt.Errorf("start: %w", err)
	}
	err := cmd.Wait()
	killGroup(cmd)
	said := jobs.ErrorText(strings.TrimSpace(string(errs.kept)), keptErr)
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return jobs.Result{}, fmt.Errorf("%w (%s): %s", context.Cause(ctx), cmd.ProcessState, said)
	case errors.Is(err, exec.ErrWaitDelay): // the command itself went well, and left others behind
	case exited && slices.Contains(permanent, exit.ExitCode()):
		return jobs.Result{}, jobs.Permanentf("%s: %s", exit.ProcessState, said)
	case exited:
		return jobs.Result{}, fmt.Errorf("%s: %s", exit.ProcessState, said)
	case cmd.ProcessState.Success(): // it did not read its input to the end, or closed an output
	default:
		return jobs.Result{}, fmt.Errorf("%w: %s", err, said)
	}
	value, err := json.Marshal(result{
		Stdout: jobs.ErrorText(string(out.kept), keptOut), Stderr: said, Truncated: out.more || errs.more,
	})
	return jobs.Result{Value: value}, err
}

// head keeps the start of what is written.
type head struct {
	most int
	kept []byte
	more bool
}

// Write takes everything.
func (h *head) Write(p []byte) (int, error) {
	room := min(len(p), h.most-len(h.kept))
	h.kept = append(h.kept, p[:room]...)
	h.more = h.more || room < len(p)
	return len(p), nil
}

// tail keeps the end of what is written: what went wrong is said last.
type tail struct {
	most int
	kept []byte
	more bool
}

// Write takes everything.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-t.most):]...)
	if len(t.kept) > t.most {
		t.kept = bytes.Clone(t.kept[len(t.kept)-t.most:])
		t.more = true
	}
	t.more = t.more || len(p) > t.most
	return len(p), nil
}
