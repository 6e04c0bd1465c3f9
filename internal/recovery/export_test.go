package recovery

// Statement is one of a way along the jobs, with the index that it is to be read by.
type Statement struct{ SQL, Index string }

// Statements are those of all ways, by what they do.
func Statements() map[string]Statement {
	all := map[string]Statement{}
	add := func(name, index string, w way) {
		all[name+", count"], all[name+", find"] = Statement{w.count, index}, Statement{w.find, index}
	}
	for action, w := range map[string]ways{actRetry: retryWays, actCancel: cancelWays} {
		add(action+" by event", "event_id", w.event)
		add(action+" by replay", "replay_id", w.replay)
	}
	add("retry by endpoint", "endpoint_id", retryWays.endpoint)
	add("retry by rule", "rule_id", retryWays.rule)
	add("retry by queue", "queue", retryWays.queue)
	add("retry by tenant", "tenant", retryWays.tenant)
	add("retry of any", "id", retryWays.all)
	add("retry of failed", "state", wayOfFailed)
	add("retry of canceled", "state", wayOfCanceled)
	add("cancel", "job_id", wayOfLiving)
	return all
}
