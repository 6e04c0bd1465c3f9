// Package logline is the kind "log": it writes one line to the log of the worker.
// It shows that a rule matches before anything outside depends on it.
package logline
