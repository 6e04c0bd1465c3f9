// Package keys knows who sends a request: the holder of an API key, or a tenant who
// came by a link to the portal. What either may do stands in app/access.go.
//
// A key is 32 random bytes, so that its SHA-256, which alone is stored, tells nothing of
// it and needs no slow hash. A process keeps all keys in memory (Ring). It asks every
// five seconds, when requests come, whether they changed, and at once after a NOTIFY, so
// that a request costs no query, a revoked key ends within milliseconds (without
// notifications: five seconds), and a process without requests asks nothing. A key that
// is not known is looked for once more in the database, all such requests together and
// at most 50 times a second: inventing keys costs the database next to nothing. Memory
// is that of the keys that admins made, about 300 bytes each.
//
// When the database does not answer, what is known holds for those five seconds, and
// then requests are answered 503. The admin key of the configuration needs no database.
//
// A link to the portal is a signed statement: tenant, permissions, when it was made and
// when it ends. It is not stored. The key of the signature is derived of
// SIGNALSTACK_SECRET_KEY, so that a change of that key ends all links once the old key is
// no longer listed. What ends those of one tenant is a time in the database, kept with
// the keys: links that were made before it are refused. Times are the database's.
package keys
