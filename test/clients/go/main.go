// Command go is a worker of the lease protocol with no dependency: main.go URL QUEUE.
// What it does with a job is the script that all clients here have; see the README.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const lease, slots = 5 * time.Second, 4

// job is what the worker reads of a claimed job.
type job struct {
	Lease   string
	Attempt int
	Payload struct {
		Do      string
		Seconds float64
		Retry   *bool
	}
}

type object map[string]any

var errCanceled, errLost, errStopped = errors.New("the job was canceled"), errors.New("the lease was lost"), errors.New("the worker stops")

// call posts, again and again while the server is away, and gives the status.
func call(ctx context.Context, path string, in object, out any) (int, error) {
	body, _ := json.Marshal(in) // texts, numbers and bools
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Args[1]+path, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		again := 1
		if resp, failed := http.DefaultClient.Do(req); failed == nil { //nolint:gosec // the user names the server
			failed = errors.Join(json.NewDecoder(resp.Body).Decode(out), resp.Body.Close())
			if failed == nil && resp.StatusCode < 500 {
				return resp.StatusCode, nil
			}
			again, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Duration(max(1, again)) * time.Second):
		}
	}
}

// run claims jobs into free slots until ctx ends, and then waits for those that run.
func run(ctx context.Context, queue string) {
	var running sync.WaitGroup
	defer running.Wait()
	ended := make(chan struct{}, slots)
	for free := slots; ctx.Err() == nil; {
		for ; free == 0 || len(ended) > 0; free++ {
			<-ended
		}
		var got struct{ Data []job }
		in := object{"queues": []string{queue}, "max": free, "wait": "20s", "lease": lease.String(), "worker": fmt.Sprint("go-", os.Getpid())}
		if status, err := call(ctx, "/jobs/claim", in, &got); err == nil && status != http.StatusOK {
			panic(fmt.Sprint("claim: status ", status))
		}
		free -= len(got.Data)
		for _, j := range got.Data {
			running.Go(func() { j.work(ctx); ended <- struct{}{} })
		}
	}
}

// work does one job while a heartbeat keeps its lease, and says how it ended.
func (j job) work(stop context.Context) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(stop))
	defer end(nil)
	defer context.AfterFunc(stop, func() { end(errStopped) })()
	go j.beat(ctx, end)
	result, err := j.do(ctx)
	last := context.WithoutCancel(stop)
	switch cause := context.Cause(ctx); {
	case err == nil:
		j.say(last, "complete", object{"result": result})
	case errors.Is(cause, errStopped):
		j.say(last, "snooze", object{})
	case !errors.Is(cause, errLost): // else there is nothing more to say
		j.say(last, "fail", object{"error": err.Error(), "retry": j.Payload.Retry == nil || *j.Payload.Retry})
	}
}

// say gives the status, and whether the job is to be canceled.
func (j job) say(ctx context.Context, what string, in object) (status int, canceled bool) {
	var out struct{ Canceled bool }
	status, _ = call(ctx, "/leases/"+j.Lease+"/"+what, in, &out)
	return status, out.Canceled
}

func (j job) beat(ctx context.Context, end context.CancelCauseFunc) {
	for tick := time.NewTicker(lease / 3); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick.C:
			switch status, canceled := j.say(ctx, "extend", object{"lease": lease.String()}); {
			case canceled:
				end(errCanceled)
			case status >= 400:
				end(errLost)
			}
		}
	}
}

// do is the work: what the script says.
func (j job) do(ctx context.Context) (any, error) {
	switch what, first := j.Payload.Do, j.Attempt == 1; {
	case what == "fail" && first:
		return nil, errors.New("told to fail")
	case what == "crash" && first:
		os.Exit(3)
	case what == "work":
		j.say(ctx, "progress", object{"progress": "working"})
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Duration(j.Payload.Seconds * float64(time.Second))):
		}
	}
	return object{"did": j.Payload.Do, "attempt": j.Attempt}, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	run(ctx, os.Args[2])
}
