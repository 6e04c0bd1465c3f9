// Package command is the kind "command": it runs a program of the worker's machine, one
// of those that the configuration names (SIGNALSTACK_COMMANDS). Without any there is no
// such kind.
//
// A payload names a command and nothing else of it: not the program, not its arguments,
// and no shell reads anything. The data of the job, or of its event, come on stdin, byte
// for byte. The environment is PATH and what is said of the job; whatever secrets the
// worker has stay with it.
//
//   - Exit code 0 is success. 64, 65 and 78 (EX_USAGE, EX_DATAERR and EX_CONFIG of
//     sysexits.h) say that no further attempt would help; any other code, 75
//     (EX_TEMPFAIL) among them, and an end by a signal are tried again.
//   - The end of the attempt, as by the job's timeout or a cancel, is SIGTERM for all
//     processes of the command and SIGKILL five seconds later. Whatever of them is left
//     when the command itself has ended is killed as well.
//   - The result holds the exit code and the start of what was written; an error holds
//     the end of stderr.
//
// A worker that is killed itself leaves its commands running, and their jobs run again
// elsewhere: a command must bear that.
package command
