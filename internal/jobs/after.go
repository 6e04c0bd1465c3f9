package jobs

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/pg"
)

// allOthers stands in after for the other items of the array.
const allOthers = "*"

// checkAfter gives the mistakes of what a job waits for that it shows by itself.
func (n NewJob) checkAfter() []fault.Detail {
	mistakes := httpapi.CheckText("/ref", n.Ref, 64)
	if _, err := uuid.Parse(n.Ref); err == nil || n.Ref == allOthers {
		mistakes = append(mistakes, fault.Detail{Pointer: "/ref", Detail: "must not be a UUID or *, which mean something else in after"})
	}
	if n.AfterOutcome != "" && len(n.After) == 0 {
		mistakes = append(mistakes, fault.Detail{Pointer: "/after_outcome", Detail: "goes with after; send one, or leave it out"})
	}
	if n.Unique != nil && len(n.After) > 0 {
		mistakes = append(mistakes, fault.Detail{Pointer: "/unique", Detail: "must not stand beside after; send one of them"})
	}
	return mistakes
}

// flow is an array of new jobs of which some wait for others.
type flow struct {
	given []httpapi.Item[NewJob]
	items []*intake.Item[*creation]
	refs  map[string]int
	// before are for each item the others of the array that it waits for.
	before [][]int
}

// linkAfter finds the jobs that others wait for, which are there or come with them, and
// refuses what cannot be: jobs that are not there, and circles.
func (a *API) linkAfter(ctx context.Context, array bool, given []httpapi.Item[NewJob], items []*intake.Item[*creation]) error {
	waits := func(g httpapi.Item[NewJob]) bool { return len(g.Value.After) > 0 || g.Value.Ref != "" }
	if !slices.ContainsFunc(given, waits) {
		return nil
	}
	f := flow{given: given, items: items, refs: map[string]int{}, before: make([][]int, len(items))}
	f.name()
	ids := map[string][]uuid.UUID{} // by tenant
	for i := range items {
		if items[i].Refusal == nil {
			tenant := items[i].Value.job.Tenant
			ids[tenant] = append(ids[tenant], f.link(i, array)...)
		}
	}
	known := map[string]map[uuid.UUID]bool{}
	for tenant, wanted := range ids {
		var err error
		if known[tenant], err = knownJobs(ctx, a.DB, tenant, wanted); err != nil {
			return err
		}
	}
	f.refuseUnknown(known)
	f.refuseCircles()
	f.refuseBehind()
	f.finish()
	return nil
}

// name finds the items by their refs.
func (f *flow) name() {
	for i := range f.items {
		ref := f.given[i].Value.Ref
		if ref == "" {
			continue
		}
		if first, twice := f.refs[ref]; twice {
			f.refuse(i, "/ref", fmt.Sprintf("is that of item %d as well", first))
			continue
		}
		f.refs[ref] = i
	}
}

func (f *flow) refuse(i int, pointer, detail string) {
	if f.items[i].Refusal == nil {
		f.items[i].Refusal = fault.InvalidField(pointer, "%s", detail)
	}
}

// link notes the items that one waits for, and gives the ids of jobs that it names.
func (f *flow) link(i int, array bool) (ids []uuid.UUID) {
	for at, name := range f.given[i].Value.After {
		pointer := "/after/" + strconv.Itoa(at)
		if id, err := uuid.Parse(name); err == nil {
			ids = append(ids, id)
			continue
		}
		other, found := f.refs[name]
		switch {
		case name == allOthers && (!array || len(f.items) == 1):
			f.refuse(i, pointer, "stands for the other items of an array, and there are none")
		case name == allOthers:
			for other := range f.items {
				if other != i {
					f.before[i] = append(f.before[i], other)
				}
			}
		case !found:
			f.refuse(i, pointer, "is neither the id of a job nor the ref of an item of this array")
		default:
			f.before[i] = append(f.before[i], other)
		}
	}
	return ids
}

// refuseUnknown refuses items that wait for a job which their tenant does not have, or
// for an item that may turn out to be another job.
func (f *flow) refuseUnknown(known map[string]map[uuid.UUID]bool) {
	for i, item := range f.items {
		if item.Refusal != nil {
			continue
		}
		for at, name := range f.given[i].Value.After {
			if id, err := uuid.Parse(name); err == nil && !known[item.Value.job.Tenant][id] {
				f.refuse(i, "/after/"+strconv.Itoa(at), "names no job of this tenant (any more)")
			}
		}
		for _, other := range f.before[i] {
			o := f.items[other]
			switch {
			case o.Refusal != nil: // see refuseBehind
			case o.Value.job.Tenant != item.Value.job.Tenant:
				f.refuse(i, "/after", fmt.Sprintf("names item %d, which is another tenant's", other))
			case len(o.Keys) > 0 || o.Value.unique != nil:
				f.refuse(i, "/after", fmt.Sprintf("names item %d, which has an idempotency_key or unique and may stand for an earlier job; give the array one Idempotency-Key, or name that job by its id", other))
			}
		}
	}
}

// refuseCircles refuses items that wait for themselves: what is left when again and again
// those are taken away that wait for nothing, or that nothing waits for.
func (f *flow) refuseCircles() {
	n := len(f.items)
	after := make([][]int, n)
	in, out := make([]int, n), make([]int, n)
	for i, before := range f.before {
		in[i] = len(before)
		for _, b := range before {
			after[b] = append(after[b], i)
			out[b]++
		}
	}
	gone := make([]bool, n)
	peel := func(degree, others []int, next, back [][]int) {
		var todo []int
		for i := range n {
			if !gone[i] && degree[i] == 0 {
				todo = append(todo, i)
			}
		}
		for len(todo) > 0 {
			i := todo[len(todo)-1]
			todo, gone[i] = todo[:len(todo)-1], true
			for _, other := range next[i] {
				if degree[other]--; degree[other] == 0 && !gone[other] {
					todo = append(todo, other)
				}
			}
			for _, other := range back[i] {
				others[other]--
			}
		}
	}
	peel(in, out, after, f.before)
	peel(out, in, f.before, after)
	for i := range n {
		if !gone[i] {
			f.refuse(i, "/after", "leads back to the job itself, or lies between jobs that wait for themselves")
		}
	}
}

// refuseBehind refuses items that wait for one that is refused.
func (f *flow) refuseBehind() {
	for changed := true; changed; {
		changed = false
		for i, item := range f.items {
			if item.Refusal != nil {
				continue
			}
			for _, other := range f.before[i] {
				if f.items[other].Refusal != nil {
					f.refuse(i, "/after", fmt.Sprintf("names item %d, which was refused", other))
					changed = true
					break
				}
			}
		}
	}
}

// finish gives the jobs what they wait for.
func (f *flow) finish() {
	for i, item := range f.items {
		given := f.given[i].Value
		if item.Refusal != nil || len(given.After) == 0 {
			continue
		}
		job := &item.Value.job
		job.AfterAny = given.AfterOutcome == AfterAny
		seen := map[uuid.UUID]bool{}
		add := func(id uuid.UUID) {
			if !seen[id] {
				seen[id] = true
				job.After = append(job.After, id)
			}
		}
		for _, name := range given.After {
			id, err := uuid.Parse(name)
			switch {
			case err == nil:
				add(id)
			case name == allOthers:
				for other := range f.items {
					if other != i {
						add(f.items[other].Value.job.ID)
					}
				}
			default:
				add(f.items[f.refs[name]].Value.job.ID)
			}
		}
	}
}

// knownJobs gives those of the ids that are jobs of a tenant, by the primary key.
func knownJobs(ctx context.Context, q pg.Querier, tenant string, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	known := map[uuid.UUID]bool{}
	if len(ids) == 0 {
		return known, nil
	}
	var found []uuid.UUID
	err := q.SelectContext(ctx, &found, `
		SELECT g.id FROM unnest($1::uuid[]) AS g (id)
		CROSS JOIN LATERAL (SELECT FROM signalstack.jobs AS j WHERE j.id = g.id AND j.tenant = $2 LIMIT 1) AS j`,
		pg.UUIDs(len(ids), func(i int) uuid.UUID { return ids[i] }), tenant)
	if err != nil {
		return nil, fmt.Errorf("look for jobs to wait for: %w", err)
	}
	for _, id := range found {
		known[id] = true
	}
	return known, nil
}
