// Package pgtest gives each test a migrated PostgreSQL database of its own.
//
// The server is the one of TEST_DATABASE_URL, or a throw-away cluster of the test
// binary's own. A template database is migrated once and cloned for each test:
// claim tests need several committed connections, and NOTIFY channels and advisory
// locks belong to a database, so neither a rollback nor a schema would isolate
// them. No server is a failure, not a skip.
//
// With TEST_POOLER_URL, pools go through that PgBouncer in transaction mode, but for
// LISTEN and migrations, as an operator would set it up. Databases are made and
// dropped past it.
package pgtest
