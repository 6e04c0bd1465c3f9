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
	waits [][]wait // of each item, each once
}

// wait is what an item waits for: another item, or a job that is there already.
type wait struct {
	item int       // its place, or elsewhere
	id   uuid.UUID // of a job that is elsewhere
	at   int       // the place in after
}

// elsewhere is the place of what is no item of the array.
const elsewhere = -1

// linkAfter finds the jobs that others wait for, which are there or come with them, and
// refuses what cannot be: jobs that are not there, and circles.
func (a *API) linkAfter(ctx context.Context, array bool, given []httpapi.Item[NewJob], items []*intake.Item[*creation]) error {
	waits := func(g httpapi.Item[NewJob]) bool { return len(g.Value.After) > 0 || g.Value.Ref != "" }
	if !slices.ContainsFunc(given, waits) {
		return nil
	}
	f := flow{given: given, items: items, refs: map[string]int{}, waits: make([][]wait, len(items))}
	f.name()
	ids := map[string][]uuid.UUID{} // by tenant
	for i := range items {
		if items[i].Refusal == nil {
			tenant := items[i].Value.job.Tenant
			f.link(i, array)
			for _, w := range f.waits[i] {
				if w.item == elsewhere {
					ids[tenant] = append(ids[tenant], w.id)
				}
			}
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

// link notes what an item waits for, once however often it is named: of a body of a
// megabyte that has little but * nothing is made that is larger.
func (f *flow) link(i int, array bool) {
	seen := map[wait]bool{}
	add := func(w wait, at int) {
		if !seen[w] {
			seen[w] = true
			w.at = at
			f.waits[i] = append(f.waits[i], w)
		}
	}
	all := false
	for at, name := range f.given[i].Value.After {
		if id, err := uuid.Parse(name); err == nil {
			add(wait{item: elsewhere, id: id}, at)
			continue
		}
		pointer := "/after/" + strconv.Itoa(at)
		other, found := f.refs[name]
		switch {
		case name == allOthers && (!array || len(f.items) == 1):
			f.refuse(i, pointer, "stands for the other items of an array, and there are none")
		case name == allOthers && !all:
			all = true
			for other := range f.items {
				if other != i {
					add(wait{item: other}, at)
				}
			}
		case name == allOthers:
		case !found:
			f.refuse(i, pointer, "is neither the id of a job nor the ref of an item of this array")
		default:
			add(wait{item: other}, at)
		}
	}
}

// refuseUnknown refuses items that wait for a job which their tenant does not have, or
// for an item that may turn out to be another job.
func (f *flow) refuseUnknown(known map[string]map[uuid.UUID]bool) {
	for i, item := range f.items {
		if item.Refusal != nil {
			continue
		}
		for _, w := range f.waits[i] {
			pointer := "/after/" + strconv.Itoa(w.at)
			if w.item == elsewhere {
				if !known[item.Value.job.Tenant][w.id] {
					f.refuse(i, pointer, "names no job of this tenant (any more)")
				}
				continue
			}
			o := f.items[w.item]
			switch {
			case o.Refusal != nil: // see refuseBehind
			case o.Value.job.Tenant != item.Value.job.Tenant:
				f.refuse(i, pointer, fmt.Sprintf("names item %d, which is another tenant's", w.item))
			case len(o.Keys) > 0 || o.Value.unique != nil:
				f.refuse(i, pointer, fmt.Sprintf("names item %d, which has an idempotency_key or unique and may stand for an earlier job; give the array one Idempotency-Key, or name that job by its id", w.item))
			}
		}
	}
}

// refuseCircles refuses items that wait for themselves: what is left when again and again
// those are taken away that wait for nothing, or that nothing waits for.
func (f *flow) refuseCircles() {
	n := len(f.items)
	before, after := make([][]int, n), make([][]int, n)
	in, out := make([]int, n), make([]int, n)
	for i, waits := range f.waits {
		for _, w := range waits {
			if w.item != elsewhere {
				before[i], after[w.item] = append(before[i], w.item), append(after[w.item], i)
				in[i]++
				out[w.item]++
			}
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
	peel(in, out, after, before)
	peel(out, in, before, after)
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
			for _, w := range f.waits[i] {
				if w.item != elsewhere && f.items[w.item].Refusal != nil {
					f.refuse(i, "/after/"+strconv.Itoa(w.at), fmt.Sprintf("names item %d, which was refused", w.item))
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
		if item.Refusal != nil {
			continue
		}
		job := &item.Value.job
		job.AfterAny = f.given[i].Value.AfterOutcome == AfterAny
		for _, w := range f.waits[i] {
			if w.item != elsewhere {
				w.id = f.items[w.item].Value.job.ID
			}
			job.After = append(job.After, w.id)
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
		pg.IDs(ids), tenant)
	if err != nil {
		return nil, fmt.Errorf("look for jobs to wait for: %w", err)
	}
	for _, id := range found {
		known[id] = true
	}
	return known, nil
}
