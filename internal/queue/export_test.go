package queue

import (
	"context"
	"time"
)

// Pass is one pass of the reaper, for tests that choose its moment.
func (r *Reaper) Pass(ctx context.Context) time.Duration { return r.pass(ctx) }

// Pass is one pass of the promoter.
func (p *Promoter) Pass(ctx context.Context) error {
	_, err := p.pass(ctx)
	return err
}

// Pass is one pass of the sweeper.
func (s *CancelSweeper) Pass(ctx context.Context) error { return s.pass(ctx) }

// Pass is one pass of the resolver.
func (r *Resolver) Pass(ctx context.Context) error {
	_, err := r.pass(ctx)
	return err
}

// Pass is one pass of the sweeper.
func (s *FlowSweeper) Pass(ctx context.Context) error { return s.pass(ctx) }

// Reap is one transaction of the reaper.
var Reap = reap

// Statements are those whose plans are kept, by what they do.
func Statements() map[string]string {
	return map[string]string{
		"claim by priority": claimByPriority, "claim by age": claimByAge, "settle": settleSQL, "settle in order": settleInOrderSQL,
		"look at ended": lookAtEndedSQL, "retry many": retryManySQL, "cancel many": cancelManySQL,
		"gather": gatherSQL, "unfinished": unfinishedSQL,
		"come": comeSQL, "marks": marksSQL, "ended": endedSQL, "meet": meetSQL, "touch": touchSQL, "vain": vainSQL, "mark missed": markMissedSQL,
	}
}

// FindLanesSQL is planned anew each time, by what the tables hold.
const FindLanesSQL = findLanesSQL
