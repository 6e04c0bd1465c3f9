// Package client speaks the HTTP API for the command line. It knows JSON and problems,
// and no types of the server: a client may be older or newer than what it talks to.
//
// Promises:
//   - A refusal says all that the server said, each mistake with its pointer.
//   - Apply changes nothing before all its documents have been read and have a shape that
//     makes sense, and sends of a schedule only what differs from what is there.
package client
