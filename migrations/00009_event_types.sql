-- +goose Up
-- What a tenant may send. Tenants need no row; one without has the limits of the
-- server.
CREATE TABLE signalstack.tenants (
    tenant          text        NOT NULL PRIMARY KEY,
    name            text        NOT NULL,  -- for people
    max_event_bytes bigint      CHECK (max_event_bytes > 0),  -- of the data; NULL: the server's
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
);

-- The registry of event types. An event may have a type that is not here.
CREATE TABLE signalstack.event_types (
    tenant       text        NOT NULL,
    type         text        NOT NULL,
    description  text        NOT NULL,
    mode         text        NOT NULL CHECK (mode IN ('off', 'warn', 'reject')),
    enforced     integer     CHECK (enforced > 0),       -- a version; NULL: the newest
    retention_ms bigint      CHECK (retention_ms >= 0),  -- NULL: the server's; 0: for ever
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, type)
);

-- The schemas of a type. A version never changes, so what was compiled of it is kept
-- by its id.
CREATE TABLE signalstack.event_type_versions (
    tenant     text        NOT NULL,
    type       text        NOT NULL,
    version    integer     NOT NULL CHECK (version > 0),
    id         uuid        NOT NULL UNIQUE,
    schema     text        NOT NULL,  -- JSON as it was given
    example    text,                  -- JSON as it was given
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, type, version),
    FOREIGN KEY (tenant, type) REFERENCES signalstack.event_types (tenant, type) ON DELETE CASCADE
);

-- Limits and schemas are kept in memory with the routes, see 00002.
CREATE TRIGGER bump_routing_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON signalstack.tenants
    FOR EACH STATEMENT EXECUTE FUNCTION signalstack.bump_routing_version();
CREATE TRIGGER bump_routing_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON signalstack.event_types
    FOR EACH STATEMENT EXECUTE FUNCTION signalstack.bump_routing_version();
CREATE TRIGGER bump_routing_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON signalstack.event_type_versions
    FOR EACH STATEMENT EXECUTE FUNCTION signalstack.bump_routing_version();

-- When the data was erased on request. What is else in the row stays.
ALTER TABLE signalstack.events ADD COLUMN erased_at timestamptz;

-- Erasing all of a subject finds its events. One without a subject has no entry.
CREATE INDEX events_subject ON signalstack.events (subject, id) WHERE subject <> '';

-- The requests to erase a subject: what came before requested_at is looked through in
-- sweeps, in the order of the ids.
CREATE TABLE signalstack.erasures (
    id           uuid        NOT NULL PRIMARY KEY,
    tenant       text        NOT NULL,
    subject      text        NOT NULL,
    erased       bigint      NOT NULL,  -- events so far
    swept_since  timestamptz NOT NULL,  -- when the present sweep began
    swept_to     uuid        NOT NULL,  -- the last event that it looked at
    requested_at timestamptz NOT NULL,
    finished_at  timestamptz
);
CREATE INDEX erasures_open ON signalstack.erasures (id) WHERE finished_at IS NULL;

-- Erased events of which a job ran at that moment: what its worker writes at the end
-- is to be erased as well.
CREATE TABLE signalstack.erasing (
    event_id uuid NOT NULL PRIMARY KEY
);

-- +goose Down
DROP TABLE signalstack.erasing;
DROP TABLE signalstack.erasures;
DROP INDEX signalstack.events_subject;
ALTER TABLE signalstack.events DROP COLUMN erased_at;
DROP TABLE signalstack.event_type_versions;
DROP TABLE signalstack.event_types;
DROP TABLE signalstack.tenants;
