//go:build race

package cron_test

// underRace says that the race detector runs, which makes a walk over decades ten times
// as long and has nothing to find there.
const underRace = true
