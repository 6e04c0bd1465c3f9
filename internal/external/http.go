package external

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// API hands jobs out to external workers, and takes in what became of them.
type API struct {
	DB    *pg.DB
	Kinds *jobs.Registry

	desk  *dispatcher
	signs *signer
	group *pg.Group[[]act, []came]
}

// New makes the API; Run must run for what workers say to be stored. listen is where to
// hear of new jobs when the pool goes through a pooler, which loses notifications.
func New(db, listen *pg.DB, kinds *jobs.Registry, log *slog.Logger) *API {
	a := &API{DB: db, Kinds: kinds, desk: newDispatcher(db, listen, kinds, log), signs: &signer{db: db}}
	a.group = a.newGroup()
	return a
}

// Close ends the waiting of all who claim, with an empty answer, and refuses others.
// What workers say is taken in still.
func (a *API) Close() { a.desk.close() }

// Run stores what workers say until ctx ends; stop the callers first.
func (a *API) Run(ctx context.Context) {
	a.group.Run(ctx, 1)
	a.Close()
	a.desk.running.Wait()
}

// slow is how much longer than it waits a claim may take.
const slow = 30 * time.Second

// Routes lists the operations of the lease protocol.
func (a *API) Routes(api *httpapi.API) {
	tags := []string{"external workers"}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "claim-jobs", Method: http.MethodPost, Path: "/jobs/claim", Tags: tags, Middlewares: httpapi.Patient(maxWait + slow),
		Summary: "Claim jobs of the kind external, and wait for them",
		Description: "Answers as soon as there is one job, with as many as there are; an empty list when none came in time. Each job comes with a " +
			"lease. A job whose lease runs out goes to another worker, and the attempt counts. 503 comes with Retry-After while the server stops.",
	}, httpapi.OptionalLoose[ClaimRequest](), a.claim)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "extend-lease", Method: http.MethodPost, Path: "/leases/{lease}/extend", Tags: tags,
		Summary:     "Keep a job for longer, and hear whether it is to be canceled",
		Description: "Do so when a third of the lease is over. " + lostText,
	}, httpapi.OptionalLoose[LeaseExtension](), a.extend)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "progress-lease", Method: http.MethodPost, Path: "/leases/{lease}/progress", Tags: tags,
		Summary: "Say how far a job is, and hear whether it is to be canceled", Description: lostText,
	}, httpapi.One[LeaseProgress](), a.progress)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "complete-lease", Method: http.MethodPost, Path: "/leases/{lease}/complete", Tags: tags,
		Summary: "Say that a job is done", Description: "A second time gets the same answer. " + lostText,
	}, httpapi.OptionalLoose[Completion](), a.complete)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "fail-lease", Method: http.MethodPost, Path: "/leases/{lease}/fail", Tags: tags,
		Summary: "Say that an attempt failed, and whether and when to try again", Description: "A job that is to be canceled is canceled by it. " + lostText,
	}, httpapi.One[Failure](), a.fail)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "snooze-lease", Method: http.MethodPost, Path: "/leases/{lease}/snooze", Tags: tags,
		Summary: "Give a job back as if it had not been claimed", Description: "No attempt is counted. " + lostText,
	}, httpapi.OptionalLoose[Snooze](), a.snooze)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "complete-leases", Method: http.MethodPost, Path: "/leases/complete", Tags: tags,
		Summary: "Say of up to 1,000 jobs that they are done", Description: itemsText,
	}, httpapi.OneOrMany[LeasedCompletion](), a.completeAll)
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "fail-leases", Method: http.MethodPost, Path: "/leases/fail", Tags: tags,
		Summary: "Say of up to 1,000 attempts that they failed", Description: itemsText,
	}, httpapi.OneOrMany[LeasedFailure](), a.failAll)
	for _, path := range []string{"/leases/complete", "/leases/fail"} {
		responses := api.OpenAPI().Paths[path].Post.Responses
		responses["207"] = &huma.Response{Description: "Some items were refused; the others are done", Content: responses["200"].Content}
	}
}

const (
	lostText = "A lease that was never given is 404. One that is not held any more is 409, changes nothing, and tells in about what has happened since."

	itemsText = "Answered item by item, in the order of the array: 200 when all is done, 207 when an item was refused, which keeps none of the others from being done."
)

// jobsClaimed is the answer to a claim.
type jobsClaimed struct {
	Body struct {
		Data []ClaimedJob `json:"data" nullable:"false"`
	}
}

type claimIn struct{ httpapi.JSONBody }

func (a *API) claim(ctx context.Context, _ *claimIn, given httpapi.Item[ClaimRequest]) (*jobsClaimed, error) {
	given.Add(checkKinds(a.Kinds, given.Value.Kinds)...)
	if err := given.Err(); err != nil {
		return nil, err
	}
	key, err := a.signs.keyOf(ctx)
	if err != nil {
		return nil, err
	}
	asked := given.Value.ask()
	claimed, err := a.desk.claim(ctx, asked, durationOf(given.Value.Wait, 0))
	if err != nil {
		return nil, err
	}
	before, err := jobs.BeforeOf(ctx, a.DB, claimed)
	if err != nil {
		a.desk.giveBack(ctx, claimed)
		return nil, err
	}
	out := &jobsClaimed{}
	out.Body.Data = make([]ClaimedJob, len(claimed))
	for i := range claimed {
		out.Body.Data[i] = claimedJob(key, &claimed[i], before[claimed[i].ID], asked.lease)
	}
	return out, nil
}

// leaseIn is the input of an operation on one lease.
type leaseIn struct {
	httpapi.JSONBody
	Lease string `path:"lease" doc:"What the claim gave"`
}

type heldOut struct{ Body LeaseHeld }

type endedOut struct{ Body LeaseEnded }

// one does an act on one lease.
func (a *API) one(ctx context.Context, lease string, x act) (came, error) {
	var err error
	if x.held, err = a.signs.read(ctx, lease); err != nil {
		return came{}, err
	}
	out, err := a.do(ctx, []act{x})
	if err != nil {
		return came{}, err
	}
	if c := out[0]; !c.lost {
		return c, nil
	}
	return came{}, a.lost(ctx, lease, x.held, out[0].timedOut)
}

func (a *API) hold(ctx context.Context, in *leaseIn, x act) (*heldOut, error) {
	c, err := a.one(ctx, in.Lease, x)
	if err != nil {
		return nil, err
	}
	e := c.extended
	return &heldOut{Body: LeaseHeld{JobID: e.JobID, LeaseUntil: e.Until.UTC(), Deadline: e.Deadline.UTC(), Canceled: e.Wanted}}, nil
}

func (a *API) extend(ctx context.Context, in *leaseIn, e httpapi.Item[LeaseExtension]) (*heldOut, error) {
	if err := e.Err(); err != nil {
		return nil, err
	}
	return a.hold(ctx, in, act{verb: extend, lease: durationOf(e.Value.Lease, defaultLease)})
}

func (a *API) progress(ctx context.Context, in *leaseIn, p LeaseProgress) (*heldOut, error) {
	return a.hold(ctx, in, act{verb: extend, lease: durationOf(p.Lease, 0), progress: p.Progress})
}

func (a *API) end(ctx context.Context, in *leaseIn, x act) (*endedOut, error) {
	c, err := a.one(ctx, in.Lease, x)
	if err != nil {
		return nil, err
	}
	held, err := a.signs.read(ctx, in.Lease)
	if err != nil {
		return nil, err
	}
	return &endedOut{Body: LeaseEnded{JobID: held.JobID, State: c.state, NextAttemptAt: c.next, Replayed: c.replayed}}, nil
}

func (a *API) complete(ctx context.Context, in *leaseIn, c httpapi.Item[Completion]) (*endedOut, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	return a.end(ctx, in, c.Value.act())
}

func (a *API) fail(ctx context.Context, in *leaseIn, f Failure) (*endedOut, error) {
	return a.end(ctx, in, f.act())
}

func (a *API) snooze(ctx context.Context, in *leaseIn, s httpapi.Item[Snooze]) (*endedOut, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	return a.end(ctx, in, act{verb: snooze, delay: durationOf(s.Value.Delay, 0)})
}

type itemsIn struct{ httpapi.JSONBody }

// itemsOut is the answer to an array.
type itemsOut struct {
	Status int
	Body   struct {
		Data []LeaseItem `json:"data" nullable:"false"`
	}
}

func (a *API) completeAll(ctx context.Context, _ *itemsIn, body httpapi.Batch[LeasedCompletion]) (*itemsOut, error) {
	return all(ctx, a, body, func(c LeasedCompletion) (string, act) { return c.Lease, c.act() })
}

func (a *API) failAll(ctx context.Context, _ *itemsIn, body httpapi.Batch[LeasedFailure]) (*itemsOut, error) {
	return all(ctx, a, body, func(f LeasedFailure) (string, act) { return f.Lease, f.act() })
}

// all does the acts of an array. What is wrong with one item keeps none of the others
// from being done.
func all[T any](ctx context.Context, a *API, body httpapi.Batch[T], actOf func(T) (string, act)) (*itemsOut, error) {
	out := &itemsOut{Status: http.StatusOK}
	items := make([]LeaseItem, len(body.Items))
	refuse := func(i int, err error) error {
		f := fault.As(err)
		if f == nil {
			return err
		}
		items[i] = LeaseItem{Index: i, Error: httpapi.ProblemOf(f)}
		items[i].Status = items[i].Error.Status
		out.Status = http.StatusMultiStatus
		return nil
	}
	var acts []act
	var places []int
	var leases []string
	named := map[queue.Held]bool{}
	for i := range body.Items {
		item := &body.Items[i]
		lease, x := actOf(item.Value)
		err := item.Err()
		if err == nil {
			x.held, err = a.signs.read(ctx, lease)
		}
		if err == nil && named[x.held] {
			err = fault.InvalidField("/lease", "stands in this array before")
		}
		if err != nil {
			if err := refuse(i, err); err != nil {
				return nil, err
			}
			continue
		}
		named[x.held] = true
		acts, places, leases = append(acts, x), append(places, i), append(leases, lease)
	}
	done, err := a.do(ctx, acts)
	if err != nil {
		return nil, err
	}
	for n, c := range done {
		i, held := places[n], acts[n].held
		if c.lost {
			if err := refuse(i, a.lost(ctx, leases[n], held, false)); err != nil {
				return nil, err
			}
			continue
		}
		items[i] = LeaseItem{Index: i, Status: http.StatusOK, JobID: &held.JobID, State: c.state, NextAttemptAt: c.next, Replayed: c.replayed}
	}
	out.Body.Data = items
	return out, nil
}
