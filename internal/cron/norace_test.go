//go:build !race

package cron_test

const underRace = false
