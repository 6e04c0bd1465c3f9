package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/pg"
)

// Options of a run.
type Options struct {
	Config      config.Config
	Jobs        int
	Payload     int // bytes
	Slots       int
	Connections int
	Seconds     int
	Rounds      int
	Rate        int // jobs/s
	Held        time.Duration
	Readers     int
	Ready       int
	Scheduled   int
	Finished    int
	Noisy       int
	Only        []string
	JSON        bool
	Out, Talk   io.Writer
}

// AddFlags adds the flags of the options.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.IntVar(&o.Jobs, "jobs", 100_000, "size of the backlog")
	f.IntVar(&o.Payload, "payload", 110, "bytes of a job's payload")
	f.IntVar(&o.Slots, "slots", 2000, "jobs that run at once")
	f.IntVar(&o.Connections, "connections", 64, "connections that send events")
	f.IntVar(&o.Seconds, "seconds", 10, "length of each timed part")
	f.IntVar(&o.Rounds, "rounds", 1, "limits: backlogs of each sort; medians are printed")
	f.IntVar(&o.Rate, "rate", 5000, "held-snapshot: jobs inserted a second")
	f.DurationVar(&o.Held, "held", time.Minute, "held-snapshot: how long the snapshot is held")
	f.IntVar(&o.Readers, "readers", 4, "held-snapshot: overlapping analytical reads; 0 leaves them out")
	f.IntVar(&o.Ready, "ready", 100_000, "big: jobs that wait for a worker")
	f.IntVar(&o.Scheduled, "scheduled", 100_000, "big: jobs that wait for their time")
	f.IntVar(&o.Finished, "finished", 500_000, "big: jobs that have ended")
	f.IntVar(&o.Noisy, "noisy", 100_000, "fair: jobs of the noisy tenant")
	f.StringSliceVar(&o.Only, "only", nil, "run these scenarios only, separated by commas")
	f.BoolVar(&o.JSON, "json", false, "write one JSON document to stdout, and the lines to stderr")
}

// scenario is a line of the table of contents.
type scenario struct {
	name     string
	measures string
	run      func(context.Context, *bench) error
}

// scenarios run in this order.
var scenarios = []scenario{
	{"insert", "jobs inserted a second: --jobs in batches of 1,000 by two writers", benchInsert},
	{"backlog", "jobs worked off a second: a backlog of --jobs, and the memory it took", benchBacklog},
	{"sustained", "jobs inserted and worked at once for --seconds; writers pause at 20,000 not done", benchSustained},
	{"ingest", "POST /events beside a bare echo handler of the same durability, in turn: --connections, one, and batches of 100; --seconds each", benchIngest},
	{"pickup", "commit of a job to the start of its attempt, at 20, 100 and 300 jobs/s", benchPickup},
	{"held-snapshot", "--rate jobs/s before, while and after a session holds a snapshot for --held; the same with --readers", benchHeld},
	{"big", "claims and API reads beside --ready, --scheduled and --finished jobs", benchBig},
	{"fair", "wait of a tenant's 20 jobs/s, alone and behind the --noisy jobs of another", benchFair},
	{"limits", "what max_running, a rate and ordering keys cost a backlog of --jobs, --rounds times", benchLimits},
	{"delivery", "POST /events to the arrival of a signed webhook at a receiver here, at 50 and 1,000 events/s and as fast as they arrive", benchDelivery},
	{"schedules", "how late 1,000 of 10,000 schedules fire that are due in the same second, alone and beside --scheduled one-off times", benchSchedules},
	{"isolation", "deliveries to healthy endpoints, alone and beside one that is broken in five ways, with --jobs waiting for it; in turn, five times --seconds, of which the middle ratio counts", benchIsolation},
	{"idle", "queries and writes a second of a process of all roles that has nothing to do, over twice --seconds", benchIdle},
}

// Help lists the scenarios with what each measures.
func Help() string {
	var text strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&text, "  %-14s %s\n", s.name, s.measures)
	}
	return text.String()
}

// Check reports options that cannot be meant.
func (o *Options) Check() error {
	for _, name := range o.Only {
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == name }) {
			return fmt.Errorf("there is no scenario %q; the scenarios are:\n%s", name, Help())
		}
	}
	if min(o.Jobs, o.Slots, o.Connections, o.Seconds, o.Rounds, o.Rate, o.Noisy) < 1 {
		return errors.New("--jobs, --slots, --connections, --seconds, --rounds, --rate and --noisy must be 1 or more")
	}
	if o.Payload < 2 || min(o.Readers, o.Ready, o.Scheduled, o.Finished) < 0 {
		return errors.New("--payload must be 2 or more, and --readers, --ready, --scheduled and --finished 0 or more")
	}
	if o.Held < time.Second {
		return errors.New("--held must be 1s or more")
	}
	return nil
}

// bench is one run: what the scenarios share.
type bench struct {
	o      Options
	server string // URL
	admin  *pg.DB // on the server's own database, so that its commits do not count
	report *report
	// statements says that the server counts them.
	statements bool
}

// Run measures, printing each figure as it is known, and in the end one JSON
// document where that was asked for.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.Check(); err != nil {
		return err
	}
	server, stop, err := serverURL(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	b := &bench{o: o, server: server, report: newReport(o)}
	if b.admin, err = pg.Open(server, pg.Options{Role: "bench", MaxConns: 2, Unbounded: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.admin.Close()) }()
	if err := b.head(ctx); err != nil {
		return err
	}
	failed := b.runAll(ctx)
	if o.JSON { // what was measured before a failure is not lost
		return errors.Join(failed, b.report.write(o.Out))
	}
	return failed
}

func (b *bench) runAll(ctx context.Context) error {
	chosen := slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool {
		return len(b.o.Only) > 0 && !slices.Contains(b.o.Only, s.name)
	})
	for i, s := range chosen {
		b.report.talk.begin(s.name, i, len(chosen))
		err := s.run(ctx, b)
		b.report.talk.end()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
