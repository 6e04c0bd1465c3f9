// Package forbidden lists the addresses that nobody is to reach unless the operator
// allows it, in every spelling that some resolver or HTTP client takes for them.
//
// Tests of whatever takes a URL from a user go through the one list, so that creation,
// change and delivery, of each kind of job, give the same answer.
package forbidden
