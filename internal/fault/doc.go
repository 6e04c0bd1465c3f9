// Package fault holds the errors that a caller can do something about.
//
// A fault has a kind, a stable code for programs and a sentence for people; a
// fault about a body also lists every mistake in it, each with a JSON pointer
// and the mend. Any other error is internal: its text is logged and never leaves
// the process. The package knows nothing of HTTP; httpapi alone maps a kind to a
// status.
package fault
