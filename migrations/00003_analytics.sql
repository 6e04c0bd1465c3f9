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
    sum_us      bigint      NOT NULL   -- of the durations
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The same counts by the minute, quarter of an hour, hour and day of UTC. Days,
-- weeks and hours of every time zone begin on a quarter of an hour, so each of
-- them is a whole number of rows; the hours and days keep that number small. The
-- fact comes first in the key because the histogram of the attempts has most of
-- the rows, and most questions are not about it.
CREATE TABLE signalstack.analytics_rollups (
    grain       smallint    NOT NULL,  -- minutes that a row stands for
    at          timestamptz NOT NULL,  -- their beginning
    tenant      text        NOT NULL,
    fact        text        NOT NULL,
    outcome     text        NOT NULL,
    kind        text        NOT NULL,
    queue       text        NOT NULL,
    type        text        NOT NULL,
    endpoint_id uuid        NOT NULL,
    bucket      smallint    NOT NULL,
    n           bigint      NOT NULL,
    sum_us      bigint      NOT NULL,
    PRIMARY KEY (grain, fact, at, tenant, outcome, kind, queue, type, endpoint_id, bucket)
) PARTITION BY LIST (grain);

-- A row is counted up every few seconds until its time is over; the free space
-- keeps these updates on their page and out of the index. The attempts lie apart
-- so that a long time of other facts is read from few pages.
CREATE TABLE signalstack.analytics_minutes PARTITION OF signalstack.analytics_rollups FOR VALUES IN (1) WITH (fillfactor = 80);
CREATE TABLE signalstack.analytics_quarters PARTITION OF signalstack.analytics_rollups FOR VALUES IN (15) PARTITION BY LIST (fact);
CREATE TABLE signalstack.analytics_quarters_attempts PARTITION OF signalstack.analytics_quarters FOR VALUES IN ('attempt') WITH (fillfactor = 80);
CREATE TABLE signalstack.analytics_quarters_others PARTITION OF signalstack.analytics_quarters DEFAULT WITH (fillfactor = 80);
CREATE TABLE signalstack.analytics_hours PARTITION OF signalstack.analytics_rollups FOR VALUES IN (60) PARTITION BY LIST (fact);
CREATE TABLE signalstack.analytics_hours_attempts PARTITION OF signalstack.analytics_hours FOR VALUES IN ('attempt') WITH (fillfactor = 80);
CREATE TABLE signalstack.analytics_hours_others PARTITION OF signalstack.analytics_hours DEFAULT WITH (fillfactor = 80);
CREATE TABLE signalstack.analytics_days PARTITION OF signalstack.analytics_rollups FOR VALUES IN (1440) WITH (fillfactor = 80);

-- The same again without kind, queue, type and endpoint: most questions are about
-- all of them, and the rows of a year are few.
CREATE TABLE signalstack.analytics_totals (
    grain   smallint    NOT NULL,
    at      timestamptz NOT NULL,
    tenant  text        NOT NULL,
    fact    text        NOT NULL,
    outcome text        NOT NULL,
    bucket  smallint    NOT NULL,
    n       bigint      NOT NULL,
    sum_us  bigint      NOT NULL,
    PRIMARY KEY (grain, fact, at, tenant, outcome, bucket)
) WITH (fillfactor = 80);

-- +goose Down
DROP TABLE signalstack.analytics_totals;
DROP TABLE signalstack.analytics_rollups;
DROP TABLE signalstack.analytics_deltas;
