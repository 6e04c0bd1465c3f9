-- +goose Up
-- What the leases of external workers are signed with, so that every process knows
-- one that was given out and nobody can make one up: 366 random bits.
CREATE TABLE signalstack.lease_keys (
    sole boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (sole),
    key  bytea   NOT NULL
);
INSERT INTO signalstack.lease_keys (key)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- The names that external workers gave themselves: each has an id in each process that
-- it claims from, which is the worker of its attempts.
CREATE TABLE signalstack.lease_workers (
    id      uuid        NOT NULL PRIMARY KEY,
    name    text        NOT NULL,
    seen_at timestamptz NOT NULL
);

-- How far an external worker says it is. A row outlives its attempt and is swept.
CREATE TABLE signalstack.lease_progress (
    job_id   uuid        NOT NULL PRIMARY KEY,
    lease    bigint      NOT NULL,
    progress bytea       NOT NULL,  -- JSON
    at       timestamptz NOT NULL
);

-- +goose Down
DROP TABLE signalstack.lease_progress;
DROP TABLE signalstack.lease_workers;
DROP TABLE signalstack.lease_keys;
