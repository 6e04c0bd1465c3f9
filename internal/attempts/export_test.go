package attempts

// Ways are the statements that look through the log, by the index that leads.
func Ways() map[string]string {
	return map[string]string{
		"jobs_pkey": wayOfAll, "jobs_event": wayOfEvent, "jobs_endpoint": wayOfEndpoint, "jobs_tenant": wayOfTenant, "attempts_notable": wayOfNotable,
	}
}

// ReadText reads attempts by their keys.
const ReadText = readText
