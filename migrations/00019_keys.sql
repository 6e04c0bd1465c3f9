-- +goose Up
-- API keys. Processes keep all of them in memory, so that a request costs no query; they
-- look whether something changed by key_version, and are told by NOTIFY signalstack_keys.
CREATE TABLE signalstack.keys (
    id           uuid        NOT NULL PRIMARY KEY,
    hash         bytea       NOT NULL UNIQUE,  -- SHA-256 of the key, which is 32 random bytes and is kept nowhere
    prefix       text        NOT NULL,         -- the first characters of the key, to tell it by
    name         text        NOT NULL,
    tenant       text        NOT NULL,         -- the only one that it acts for; '': all
    scopes       text[]      NOT NULL,         -- admin, ingest, work, read
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,                  -- NULL: never
    last_used_at timestamptz                   -- within about a minute; NULL: never
);

-- Links to the portal are signed and not stored. Those of a tenant that were made until
-- not_before are refused; a row older than any link may live says nothing any more.
CREATE TABLE signalstack.portal_revocations (
    tenant     text        NOT NULL PRIMARY KEY,
    not_before timestamptz NOT NULL
);

-- Counts the changes of both tables.
CREATE TABLE signalstack.key_version (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL
);
INSERT INTO signalstack.key_version (version) VALUES (0);

-- +goose Down
DROP TABLE signalstack.key_version;
DROP TABLE signalstack.portal_revocations;
DROP TABLE signalstack.keys;
