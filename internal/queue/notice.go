package queue

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Channel is where the statements of this package notify. A notification is a hint
// that saves a worker from waiting for its next look; nothing depends on it.
const Channel = "signalstack_queue"

// Notice is one notification.
type Notice struct {
	// Kind is one of NoticeReady, NoticeScheduled, NoticeCancel, NoticeFollowed and NoticeControl.
	Kind string
	// Queue has new ready jobs in Lanes, or in more lanes than could be named when
	// they are nil. None of them became ready before At.
	Queue string
	Lanes []string
	// At is when a job will be due that was scheduled for the next moments.
	At time.Time
	// JobID is a running job that is to be canceled.
	JobID uuid.UUID
}

// The kinds of notices.
const (
	NoticeReady     = "ready"     // queue, microseconds, lanes
	NoticeScheduled = "scheduled" // microseconds
	NoticeCancel    = "cancel"    // job id
	NoticeFollowed  = "followed"  // a job that others wait for has ended
	NoticeControl   = "control"   // a queue or lane was paused, limited or the like
)

// manyLanes stands for lanes that are too many to name.
const manyLanes = "*"

// ParseNotice reads the payload of a notification. What it does not know has no
// kind: a newer version may say more.
func ParseNotice(payload string) Notice {
	fields := strings.Split(payload, "\t")
	switch n := (Notice{Kind: fields[0]}); {
	case n.Kind == NoticeReady && len(fields) >= 4:
		n.Queue, n.At = fields[1], microTime(fields[2])
		if fields[3] != manyLanes {
			n.Lanes = fields[3:]
		}
		return n
	case n.Kind == NoticeScheduled && len(fields) == 2:
		n.At = microTime(fields[1])
		return n
	case n.Kind == NoticeCancel && len(fields) == 2:
		n.JobID, _ = uuid.Parse(fields[1])
		return n
	case n.Kind == NoticeControl || n.Kind == NoticeFollowed:
		return n
	}
	return Notice{}
}

func microTime(text string) time.Time {
	us, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(us)
}
