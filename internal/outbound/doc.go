// Package outbound is the one HTTP client that jobs reach the outside with.
//
// Promises:
//   - Private, loopback, link-local and other special networks are refused unless
//     the configuration allows them by CIDR or host. The address is checked when it
//     is dialed, after the name was resolved, so a name that changes its mind
//     between check and use gains nothing. Check gives the same answer for what can
//     be told without resolving, so a mistake is found when a URL is stored.
//   - Redirects are never followed, proxies of the environment never used, and
//     what a user may not set (hop-by-hop headers, Host, our own) is refused.
//   - An answer costs bounded memory and time: headers and body are capped, no body
//     is decompressed, a body that drips is left after five seconds, and everything
//     ends with the attempt's context.
//   - Each exchange is put on record with the address that was connected to, where its
//     time went and, when no response came, the class of the error.
//
// What a status means is decided here as well, in Judge: kinds differ only in
// which refusals no further attempt can mend.
package outbound
