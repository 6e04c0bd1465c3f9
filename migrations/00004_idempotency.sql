-- +goose Up
-- Reserved in the transaction of what the key protects. Not partitioned: the
-- primary key must be unique over all time.
CREATE TABLE signalstack.idempotency_keys (
    tenant      text        NOT NULL,
    scope       text        NOT NULL,  -- the operation: events or jobs
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,  -- SHA-256 of the body
    answer      bytea       NOT NULL,  -- the first answer, byte for byte
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, scope, key)
);
CREATE INDEX idempotency_keys_expires_at ON signalstack.idempotency_keys (expires_at);

-- +goose Down
DROP TABLE signalstack.idempotency_keys;
