// Package queues shows queues to operators and lets them steer: pause and resume a
// queue, and limit or weigh a queue or a lane of it. The engine that obeys is in
// package queue.
//
// A setting holds in every worker: its notification reaches them at once, and who
// misses it knows within five seconds. A limit is exact from then on, across all
// workers. No number here is counted row by row but those of running jobs, which
// are few.
package queues
