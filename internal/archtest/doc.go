// Package archtest holds the house rules that a compiler cannot see, and a test
// that fails when the tree breaks one of them.
//
// The rules are one table in rules.go: the line along which packages may import
// each other, the few places that may know a library, the size budget, and the
// names and calls that are not used here. To add a package, write it on its step
// of that line; nothing else needs to change.
//
// Promises:
//   - The real source files are parsed, all of them, whatever their build
//     constraints. Nothing is asked of the go command: "go test" remembers the
//     files a test opened and runs it again when one changed, but it cannot know
//     what a child process read, and would answer "ok (cached)" to a new breach.
//   - Every rule is shown to fail, on a small tree held in memory.
//
// Test files are exempt from all rules but the ban on init functions: Go itself
// refuses an import cycle, and a test reads best beside what it tests. Nothing
// imports this package.
package archtest
