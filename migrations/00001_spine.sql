-- +goose Up
CREATE SCHEMA IF NOT EXISTS signalstack;

-- Events, jobs and attempts are written once and partitioned by day. The key is
-- the UUIDv7 itself: its first 48 bits are the time, so an id finds its partition
-- and the primary key needs no second column. Partitions are made by the
-- application, ahead and on demand.
CREATE TABLE signalstack.events (
    id          uuid        NOT NULL PRIMARY KEY,
    tenant      text        NOT NULL,
    type        text        NOT NULL,
    source      text        NOT NULL,
    subject     text        NOT NULL,
    sender_id   text        NOT NULL,
    time        timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    -- The bytes of data as they came; NULL when the event has none. Not jsonb,
    -- which refuses \u0000, drops duplicate keys and rewrites numbers.
    data        bytea
) PARTITION BY RANGE (id);

CREATE TABLE signalstack.jobs (
    id           uuid        NOT NULL PRIMARY KEY,
    tenant       text        NOT NULL,
    kind         text        NOT NULL,
    queue        text        NOT NULL,
    priority     smallint    NOT NULL CHECK (priority BETWEEN 1 AND 4),
    run_at       timestamptz NOT NULL,
    payload      bytea,
    event_id     uuid,
    event_type   text        NOT NULL,
    rule_id      uuid,
    endpoint_id  uuid,
    schedule_id  uuid,
    ordering_key text        NOT NULL,
    max_attempts integer     NOT NULL CHECK (max_attempts > 0),
    timeout_ms   integer     NOT NULL CHECK (timeout_ms > 0),
    retry        text        NOT NULL,
    created_at   timestamptz NOT NULL
) PARTITION BY RANGE (id);

-- The filters of the job list. Most rows have the default tenant and need no entry.
CREATE INDEX jobs_event ON signalstack.jobs (event_id, id) WHERE event_id IS NOT NULL;
CREATE INDEX jobs_rule ON signalstack.jobs (rule_id, id) WHERE rule_id IS NOT NULL;
CREATE INDEX jobs_endpoint ON signalstack.jobs (endpoint_id, id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX jobs_tenant ON signalstack.jobs (tenant, id) WHERE tenant <> 'default';

-- One narrow row for each job that waits: for its time, for a worker or for its
-- next attempt. A claim moves it to running, the end deletes it.
CREATE TABLE signalstack.ready (
    job_id   uuid        NOT NULL PRIMARY KEY,
    queue    text        NOT NULL,
    priority smallint    NOT NULL,
    run_at   timestamptz NOT NULL,
    attempt  integer     NOT NULL,  -- attempts made so far
    lease    bigint      NOT NULL   -- the last lease given out; it never goes back
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The claim walks this index from its cursor, one priority after the other.
CREATE INDEX ready_claim ON signalstack.ready (queue, priority, run_at, job_id);

-- One row for each job that a worker has, with the lease that every write of that
-- worker must carry.
CREATE TABLE signalstack.running (
    job_id      uuid        NOT NULL PRIMARY KEY,
    queue       text        NOT NULL,
    priority    smallint    NOT NULL,
    run_at      timestamptz NOT NULL,  -- when it was due
    attempt     integer     NOT NULL,  -- the attempt being made, from 1
    lease       bigint      NOT NULL,
    worker      uuid        NOT NULL,
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The reaper reads what lies between its last pass and now.
CREATE INDEX running_lease_until ON signalstack.running (lease_until);

-- What every attempt came to, append-only. state is the state it left the job in;
-- the newest row of a job that neither waits nor runs is the job's final state.
CREATE TABLE signalstack.attempts (
    job_id      uuid        NOT NULL,
    lease       bigint      NOT NULL,
    attempt     integer     NOT NULL,
    state       text        NOT NULL CHECK (state IN ('succeeded', 'failed', 'canceled', 'retrying')),
    outcome     text        NOT NULL,
    error       text        NOT NULL,
    worker      uuid,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    duration_ms bigint      NOT NULL,
    exchange    bytea,      -- JSON: the HTTP request and response, when there was one
    PRIMARY KEY (job_id, lease)
) PARTITION BY RANGE (job_id);

-- Failed and canceled jobs are few and looked for; succeeded ones are found by
-- walking the jobs.
CREATE INDEX attempts_ended ON signalstack.attempts (state, job_id) WHERE state IN ('failed', 'canceled');

-- +goose Down
DROP TABLE signalstack.attempts;
DROP TABLE signalstack.running;
DROP TABLE signalstack.ready;
DROP TABLE signalstack.jobs;
DROP TABLE signalstack.events;
