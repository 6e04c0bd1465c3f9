-- +goose Up
-- Deltas are appended in the transaction of the fact they count and folded into
-- the rollups later, so a count is exact at any moment: rollups plus deltas.
CREATE TABLE signalstack.analytics_deltas (
    at          timestamptz NOT NULL,  -- the minute of the fact
    tenant      text        NOT NULL,
    fact        text        NOT NULL,  -- event, job_created, attempt or job
    outcome     text        NOT NULL,
    kind        text        NOT NULL,
    queue       text        NOT NULL,
    type        text        NOT NULL,  -- event type
    endpoint_id uuid        NOT NULL,  -- all zeros: none
    bucket      smallint    NOT NULL,  -- of the duration histogram; -1: no duration
    n           bigint      NOT NULL,
    sum_ms      bigint      NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE signalstack.analytics_minutes (
    at          timestamptz NOT NULL,
    tenant      text        NOT NULL,
    fact        text        NOT NULL,
    outcome     text        NOT NULL,
    kind        text        NOT NULL,
    queue       text        NOT NULL,
    type        text        NOT NULL,
    endpoint_id uuid        NOT NULL,
    bucket      smallint    NOT NULL,
    n           bigint      NOT NULL,
    sum_ms      bigint      NOT NULL,
    PRIMARY KEY (at, fact, tenant, outcome, kind, queue, type, endpoint_id, bucket)
);

-- Days, weeks and hours of every time zone begin on a quarter of an hour.
CREATE TABLE signalstack.analytics_quarters (
    at          timestamptz NOT NULL,
    tenant      text        NOT NULL,
    fact        text        NOT NULL,
    outcome     text        NOT NULL,
    kind        text        NOT NULL,
    queue       text        NOT NULL,
    type        text        NOT NULL,
    endpoint_id uuid        NOT NULL,
    bucket      smallint    NOT NULL,
    n           bigint      NOT NULL,
    sum_ms      bigint      NOT NULL,
    PRIMARY KEY (at, fact, tenant, outcome, kind, queue, type, endpoint_id, bucket)
);

-- +goose Down
DROP TABLE signalstack.analytics_quarters;
DROP TABLE signalstack.analytics_minutes;
DROP TABLE signalstack.analytics_deltas;
