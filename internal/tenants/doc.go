// Package tenants keeps what an operator sets of a tenant: a name for people, and the
// largest event that it may send.
//
// A tenant needs no making: it is there with the first thing that names it, and
// without settings it has the limits of the server (SIGNALSTACK_MAX_BODY). A setting
// holds for every event accepted after its answer, in every process, as the limits
// are kept with the routes of events.
package tenants
