// Package sealed keeps secrets at rest: what a Box seals can be stored where
// others read, and only the configured key opens it.
//
// Promises:
//   - Nothing sealed can be read or changed unnoticed without the key (AES-256 in
//     GCM mode, a fresh random nonce each time).
//   - A sealed secret opens only in the context it was sealed for, such as
//     "endpoint:<id>", so that a row's secret cannot be moved to another row.
//   - ErrOtherKey tells a changed key from ErrDamaged bytes or a wrong context: the
//     first is mended by the old key, the second by nothing.
//   - Open never panics, whatever bytes it is given, and no error holds a secret.
//
// A sealed secret is one byte of version, eight bytes that name the key (the
// start of its SHA-256), the nonce, the ciphertext and its tag. The name finds the
// key among several, so that keys can be changed one row at a time: Header tells
// what is still to be sealed anew. A random key of 32 bytes cannot be guessed from
// its hash.
//
// Without a key nothing is sealed: Plain keeps secrets as they are, marked as such,
// and the process that uses it says so when it starts.
//
// Random nonces are safe for 2^32 seals under one key; this product seals one
// secret for each endpoint that is made.
package sealed
