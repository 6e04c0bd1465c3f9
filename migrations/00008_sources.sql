-- +goose Up
CREATE TABLE signalstack.sources (
    id         uuid        NOT NULL PRIMARY KEY,
    tenant     text        NOT NULL,
    name       text        NOT NULL,
    kind       text        NOT NULL,
    secrets    bytea       NOT NULL,  -- JSON array, sealed under the configured key
    hmac       text        NOT NULL,  -- JSON object of the kind hmac; '' for the others
    enabled    boolean     NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
-- The order of the list; an id is random and says nothing of its age.
CREATE INDEX sources_created_at ON signalstack.sources (created_at, id);

-- Apart from the sources: they are read with each delivery, and this is written
-- every second while any come. Room in the pages keeps its updates off the index.
CREATE TABLE signalstack.source_counts (
    source_id            uuid   NOT NULL PRIMARY KEY REFERENCES signalstack.sources ON DELETE CASCADE,
    accepted             bigint NOT NULL DEFAULT 0,
    duplicates           bigint NOT NULL DEFAULT 0,
    rejected             bigint NOT NULL DEFAULT 0,
    last_accepted_at     timestamptz,
    last_rejected_at     timestamptz,
    last_rejected_reason text   NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

-- +goose Down
DROP TABLE signalstack.source_counts;
DROP TABLE signalstack.sources;
