package jobs

import (
	"time"

	"github.com/signalstack/signalstack/internal/queue"
)

// A window bounds how many slots of a worker one endpoint's deliveries take. It opens
// with what goes well and closes with what is slow to fail, in the manner of the
// congestion window of TCP: a receiver that hangs never gets more than the first few
// slots, and a healthy one has all of them after as many deliveries. It is kept in
// memory and costs the database nothing; what all workers hold against a broken
// endpoint together is its circuit breaker.
type window struct {
	size int
	seen time.Time
}

const (
	// firstPart of the slots is where a window begins.
	firstPart = 10
	// slowAfter is from when an attempt is slow: less hardly keeps a slot from others.
	slowAfter = time.Second
	// windowMost bounds the windows that are remembered, and windowKept how long.
	windowMost = 10_000
	windowKept = 10 * time.Minute
)

// ended takes in an attempt. Receivers that are slow but do their work may have half
// the slots; a failure that comes at once costs no slot and says nothing here.
func (w *window) ended(slots int, failed bool, took time.Duration) {
	w.seen = time.Now()
	slow := took >= slowAfter
	switch {
	case failed && slow:
		w.size = max(1, w.size/2)
	case failed:
	case !slow:
		w.size = min(slots, w.size+1)
	case w.size < slots/2:
		w.size++
	case w.size > slots/2:
		w.size = max(1, w.size-1)
	}
}

// endpointLane says whether a lane is that of one endpoint.
func endpointLane(lane string) bool {
	_, endpointID, _ := queue.PartsOfLane(lane)
	return endpointID != ""
}

// window gives the window of an endpoint's lane. The caller holds q.mu.
func (q *queueLoop) window(lane string) *window {
	w := q.windows[lane]
	if w == nil {
		if len(q.windows) >= windowMost {
			q.forgetWindows()
		}
		w = &window{size: max(1, q.slots/firstPart), seen: time.Now()}
		q.windows[lane] = w
	}
	return w
}

// forgetWindows makes room: first of those that were long not used, then of all that
// hold nothing, which only costs them a new beginning.
func (q *queueLoop) forgetWindows() {
	for _, most := range []time.Duration{windowKept, 0} {
		for lane, w := range q.windows {
			if q.running[lane] == 0 && time.Since(w.seen) >= most {
				delete(q.windows, lane)
			}
		}
		if len(q.windows) < windowMost {
			return
		}
	}
}

// room gives how many more jobs of a lane may run here.
func (q *queueLoop) room(lane string) int {
	if !endpointLane(lane) {
		return q.slots
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	room := q.window(lane).size - q.running[lane]
	if room <= 0 {
		q.full[lane] = true
	}
	return room
}

// ended lets an attempt open or close the window of its lane.
func (q *queueLoop) ended(job *queue.Claimed, state queue.State, took time.Duration) {
	if !job.EndpointID.Valid || !endpointLane(job.Lane) || state == queue.Released {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.window(job.Lane).ended(q.slots, state != queue.Succeeded, took)
}

// roomAgain tells the claimer of a lane that was full and may have room now.
func (q *queueLoop) roomAgain(lane string) {
	q.mu.Lock()
	full := q.full[lane]
	if full {
		delete(q.full, lane)
		q.notices = append(q.notices, queue.Notice{Kind: queue.NoticeReady, Queue: q.name, Lanes: []string{lane}})
	}
	q.mu.Unlock()
	if full {
		q.wake()
	}
}
