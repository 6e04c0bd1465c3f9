// Package config is the one place that reads flags and environment.
//
// Every setting is an environment variable with a flag of the same name
// (SIGNALSTACK_ADDR is --addr); a flag beats the environment, which beats the
// default. A variable NAME_FILE names a file that holds the value, for secrets.
// Load reports every bad value at once and in the user's words.
package config
