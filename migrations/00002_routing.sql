-- +goose Up
CREATE TABLE signalstack.rules (
    id         uuid        NOT NULL PRIMARY KEY,
    tenant     text        NOT NULL,
    name       text        NOT NULL,
    pattern    text        NOT NULL,  -- JSON as it was given
    actions    text        NOT NULL,  -- JSON array
    enabled    boolean     NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE signalstack.endpoints (
    id          uuid        NOT NULL PRIMARY KEY,
    tenant      text        NOT NULL,
    url         text        NOT NULL,
    description text        NOT NULL,
    secret      bytea       NOT NULL,  -- sealed under the configured key
    event_types text[]      NOT NULL,
    headers     bytea       NOT NULL,  -- JSON object, sealed: values may be credentials
    enabled     boolean     NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- Every process keeps all rules and subscriptions compiled in memory. The version
-- is read in the transaction of each batch of events, so none is routed by an old
-- set; the trigger keeps it right for changes made by hand as well.
CREATE TABLE signalstack.routing_version (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL
);
INSERT INTO signalstack.routing_version (version) VALUES (1);

-- +goose StatementBegin
CREATE FUNCTION signalstack.bump_routing_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE signalstack.routing_version SET version = version + 1;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER bump_routing_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON signalstack.rules
    FOR EACH STATEMENT EXECUTE FUNCTION signalstack.bump_routing_version();
CREATE TRIGGER bump_routing_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON signalstack.endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION signalstack.bump_routing_version();

-- +goose Down
DROP TABLE signalstack.endpoints;
DROP TABLE signalstack.rules;
DROP FUNCTION signalstack.bump_routing_version();
DROP TABLE signalstack.routing_version;
