// Command bench-river measures River, the job queue for Go and PostgreSQL, the
// way "signalstack bench" measures SignalStack's own engine, so that the two can
// be compared on one server. It is a module of its own so that River never
// decides the version of a library the product ships.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	databaseURL string
	jobs        int
	payload     int // bytes
	workers     int
	poll        time.Duration
	seconds     int
	only        []string
	json        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-river:", err)
		stop()
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench-river", flag.ContinueOnError)
	f.StringVar(&o.databaseURL, "database-url", "", "PostgreSQL server to make the scratch database on")
	f.IntVar(&o.jobs, "jobs", 100_000, "size of the backlog")
	f.IntVar(&o.payload, "payload", 110, "bytes of a job's encoded arguments")
	f.IntVar(&o.workers, "workers", 2000, "jobs that run at once")
	f.DurationVar(&o.poll, "poll", 20*time.Millisecond, "River's FetchPollInterval")
	f.IntVar(&o.seconds, "seconds", 10, "length of each timed part")
	f.StringVar(&only, "only", "", "run some parts only: "+strings.Join(partNames(), ","))
	f.BoolVar(&o.json, "json", false, "print one JSON object rather than lines")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	return o, o.check(f.Args())
}

func (o options) check(rest []string) error {
	for _, name := range o.only {
		if !slices.Contains(partNames(), name) {
			return fmt.Errorf("there is no part %q: the parts are %s", name, strings.Join(partNames(), ", "))
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.databaseURL == "":
		return errors.New("--database-url is required")
	case o.jobs < 1 || o.workers < 1 || o.seconds < 1:
		return errors.New("--jobs, --workers and --seconds must be 1 or more")
	case o.payload < minPayload:
		return fmt.Errorf("--payload must be %d or more", minPayload)
	case o.poll < fetchCooldown:
		return fmt.Errorf("--poll must be %s or more", fetchCooldown)
	}
	return nil
}

// part of a run. Each leaves its figures in the report and prints them.
type part struct {
	name string
	run  func(context.Context, *scratch, options, *report) error
}

// parts run in this order: the backlog that insert leaves is the one worked off.
var parts = []part{{"insert", benchInsert}, {"backlog", benchBacklog}, {"sustained", benchSustained}, {"pickup", benchPickup}}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// run measures and prints one line for each figure, or one JSON object at the end.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	s, drop, err := makeScratch(ctx, o.databaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop()) }()
	r := &report{out: out}
	if o.json {
		r.out = io.Discard
	}
	if err := r.head(ctx, s); err != nil {
		return err
	}
	for _, p := range parts {
		if o.only != nil && !slices.Contains(o.only, p.name) {
			continue
		}
		if err := p.run(ctx, s, o, r); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if !o.json {
		return nil
	}
	return json.NewEncoder(out).Encode(r)
}
