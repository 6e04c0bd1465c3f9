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

-- The filters of the event list. Most rows have the default tenant and need no entry
-- for it.
CREATE INDEX events_type ON signalstack.events (type, id);
CREATE INDEX events_tenant ON signalstack.events (tenant, id) WHERE tenant <> 'default';

CREATE TABLE signalstack.jobs (
    id           uuid        NOT NULL PRIMARY KEY,
    tenant       text        NOT NULL,
    kind         text        NOT NULL,
    queue        text        NOT NULL,
    lane         text        NOT NULL,
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

-- The filters of the job list. Most rows have the default tenant and queue and need
-- no entry for them.
CREATE INDEX jobs_event ON signalstack.jobs (event_id, id) WHERE event_id IS NOT NULL;
CREATE INDEX jobs_rule ON signalstack.jobs (rule_id, id) WHERE rule_id IS NOT NULL;
CREATE INDEX jobs_endpoint ON signalstack.jobs (endpoint_id, id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX jobs_queue ON signalstack.jobs (queue, id) WHERE queue <> 'default';
CREATE INDEX jobs_tenant ON signalstack.jobs (tenant, id) WHERE tenant <> 'default';

-- One narrow row for each job that is due and waits for a worker. A claim moves it
-- to running, the end deletes it. Names compare by their bytes: the claim walks from
-- lane to lane and cares for no language.
CREATE TABLE signalstack.ready (
    job_id   uuid        NOT NULL PRIMARY KEY,
    queue    text        COLLATE "C" NOT NULL,
    lane     text        COLLATE "C" NOT NULL,
    priority smallint    NOT NULL,
    ready_at timestamptz NOT NULL,  -- when it became so
    attempt  integer     NOT NULL,  -- attempts made so far
    lease    bigint      NOT NULL   -- the last lease given out; it never goes back
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The claim walks each lane from its position, one priority after the other.
CREATE INDEX ready_claim ON signalstack.ready (queue, lane, priority, ready_at, job_id);

-- One row for each job that waits for its time: a later run_at, or the next attempt.
-- Kept apart from ready, so that a million of them costs a claim nothing.
CREATE TABLE signalstack.scheduled (
    job_id   uuid        NOT NULL PRIMARY KEY,
    queue    text        COLLATE "C" NOT NULL,
    lane     text        COLLATE "C" NOT NULL,
    priority smallint    NOT NULL,
    run_at   timestamptz NOT NULL,
    attempt  integer     NOT NULL,
    lease    bigint      NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX scheduled_run_at ON signalstack.scheduled (run_at);

-- One row for each job that a worker has, with the lease that every write of that
-- worker must carry.
CREATE TABLE signalstack.running (
    job_id      uuid        NOT NULL PRIMARY KEY,
    queue       text        COLLATE "C" NOT NULL,
    lane        text        COLLATE "C" NOT NULL,
    priority    smallint    NOT NULL,
    ready_at    timestamptz NOT NULL,
    attempt     integer     NOT NULL,  -- the attempt being made, from 1
    lease       bigint      NOT NULL,
    worker      uuid        NOT NULL,
    limited     boolean     NOT NULL,  -- its lane or queue has a limit that counts it
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The reaper reads what lies between its last pass and now; limits count what they
-- limit, and cost nothing where there is none.
CREATE INDEX running_lease_until ON signalstack.running (lease_until);
CREATE INDEX running_limited ON signalstack.running (queue, lane) WHERE limited;

-- One row for each ordering key that is busy: one of its jobs has its turn, which is
-- to be ready, scheduled or running. Whoever adds to a key locks its row, and so does
-- whoever ends its last job and takes the row away.
CREATE TABLE signalstack.ordering_keys (
    tenant       text COLLATE "C" NOT NULL,
    ordering_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, ordering_key)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The jobs that wait for another one of their ordering key, in the order of their
-- coming. The end of the one before moves a job to ready or scheduled.
CREATE TABLE signalstack.ordered (
    job_id       uuid        NOT NULL PRIMARY KEY,
    seq          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant       text        COLLATE "C" NOT NULL,
    ordering_key text        COLLATE "C" NOT NULL,
    queue        text        COLLATE "C" NOT NULL,
    lane         text        COLLATE "C" NOT NULL,
    priority     smallint    NOT NULL,
    run_at       timestamptz NOT NULL,
    lease        bigint      NOT NULL  -- the last one given out, where an ended job was taken up again
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX ordered_key ON signalstack.ordered (tenant, ordering_key, seq);

-- Running jobs that somebody wants canceled. Their worker looks here.
CREATE TABLE signalstack.cancels (
    job_id       uuid        NOT NULL PRIMARY KEY,
    requested_at timestamptz NOT NULL
);

-- What operators set of a queue (the empty lane) or of one lane in it.
CREATE TABLE signalstack.controls (
    queue       text     COLLATE "C" NOT NULL,
    lane        text     COLLATE "C" NOT NULL,
    paused      boolean  NOT NULL DEFAULT false,        -- of a queue
    weight      integer  NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100),  -- of a lane
    max_running integer  CHECK (max_running > 0),       -- in all processes together
    rate        integer  CHECK (rate > 0),              -- claims per period
    period_ms   bigint   CHECK (period_ms > 0),
    burst       integer  CHECK (burst > 0),
    tat         timestamptz,                            -- theoretical arrival time (GCRA)
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (queue, lane),
    CHECK ((rate IS NULL) = (period_ms IS NULL) AND (rate IS NULL) = (burst IS NULL))
);

-- The job that holds a unique key, while its state is one that counts.
CREATE TABLE signalstack.unique_jobs (
    tenant text NOT NULL,
    key    text NOT NULL,
    job_id uuid NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX unique_jobs_job ON signalstack.unique_jobs (job_id);

-- Upkeep is done by one worker at a time; another takes over when this one has not
-- renewed its lease.
CREATE TABLE signalstack.leaders (
    duty        text        NOT NULL PRIMARY KEY,
    worker      uuid        NOT NULL,
    lease_until timestamptz NOT NULL
);

-- What every attempt came to, append-only. state is the state it left the job in;
-- the newest row of a job that neither waits nor runs is the job's final state. A job
-- that is canceled while it waits gets a row without a worker.
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

-- What workers listen to. A notification is a hint: workers look by themselves as
-- well. It names the lanes that have something new, or * when they are too many for
-- the 8,000 bytes that it may have.
-- +goose StatementBegin
CREATE FUNCTION signalstack.notify_ready(queue text, lanes text[]) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('signalstack_queue', concat_ws(E'\t', 'ready', queue, (extract(epoch FROM now()) * 1000000)::bigint,
        CASE WHEN octet_length(array_to_string(lanes, E'\t')) < 7500 THEN array_to_string(lanes, E'\t') ELSE '*' END))
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION signalstack.notify_scheduled(run_at timestamptz) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('signalstack_queue', concat_ws(E'\t', 'scheduled', (extract(epoch FROM run_at) * 1000000)::bigint))
$$;
-- +goose StatementEnd

-- Retention puts this trigger on a partition that it copies: it notes the key of each
-- row that is added meanwhile, in a table beside the partition.
-- +goose StatementBegin
CREATE FUNCTION signalstack.note_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.%I (key) SELECT ($1).%I', TG_TABLE_SCHEMA, TG_TABLE_NAME || '_late', TG_ARGV[0]) USING NEW;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION signalstack.note_late() CASCADE;
DROP FUNCTION signalstack.notify_scheduled(timestamptz);
DROP FUNCTION signalstack.notify_ready(text, text[]);
DROP TABLE signalstack.attempts;
DROP TABLE signalstack.leaders;
DROP TABLE signalstack.unique_jobs;
DROP TABLE signalstack.controls;
DROP TABLE signalstack.cancels;
DROP TABLE signalstack.ordered;
DROP TABLE signalstack.ordering_keys;
DROP TABLE signalstack.running;
DROP TABLE signalstack.scheduled;
DROP TABLE signalstack.ready;
DROP TABLE signalstack.jobs;
DROP TABLE signalstack.events;
