-- +goose Up
ALTER TABLE signalstack.endpoints
    ADD COLUMN old_secrets     bytea,                      -- JSON array of {secret, until}, sealed; NULL: none
    ADD COLUMN credentials     bytea,                      -- JSON of auth and certificates, sealed; NULL: none
    ADD COLUMN delivery        text NOT NULL DEFAULT '{}', -- JSON: how it wants to be delivered to
    ADD COLUMN disabled_reason text NOT NULL DEFAULT '',   -- why the system did so
    ADD COLUMN disabled_at     timestamptz;

-- One row for each endpoint that fails, from its first failure to the next success. A
-- healthy endpoint has none, so that deliveries that go well write nothing here. The
-- circuit breaker's state is controls.closed_until of the endpoint's lane.
CREATE TABLE signalstack.endpoint_health (
    endpoint_id     uuid        NOT NULL PRIMARY KEY REFERENCES signalstack.endpoints ON DELETE CASCADE,
    failures        integer     NOT NULL,  -- in a row
    unavailable     integer     NOT NULL,  -- of them in a row, those that say that it cannot be reached
    opened          integer     NOT NULL,  -- how often its circuit breaker opened since
    failing_since   timestamptz NOT NULL,
    last_failure_at timestamptz NOT NULL,
    last_error      text        NOT NULL,
    warned          integer     NOT NULL   -- last warning given, in percent of the time after which it is disabled; 0: none
);

-- +goose Down
DROP TABLE signalstack.endpoint_health;
ALTER TABLE signalstack.endpoints
    DROP COLUMN disabled_at, DROP COLUMN disabled_reason, DROP COLUMN delivery, DROP COLUMN credentials, DROP COLUMN old_secrets;
