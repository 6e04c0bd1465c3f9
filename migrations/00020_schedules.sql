-- +goose Up
-- What fires by the clock. A row is written anew with each fire, in the transaction of
-- what the fire makes.
CREATE TABLE signalstack.schedules (
    id           uuid        NOT NULL PRIMARY KEY,
    tenant       text        NOT NULL,
    name         text        NOT NULL,  -- '' is none
    spec         text        NOT NULL,  -- JSON: when, and what to do when it could not be then
    action       text        NOT NULL,  -- JSON
    one_off      boolean     NOT NULL,
    paused       boolean     NOT NULL,
    anchor       timestamptz NOT NULL,  -- that an interval counts from
    next_at      timestamptz,           -- the next fire; NULL while paused, and when there is none any more
    due_at       timestamptz,           -- when to look at the row: next_at with its jitter, or sooner for what is queued
    queued       integer     NOT NULL DEFAULT 0,    -- fires that wait for the end of the last run
    run_jobs     uuid[]      NOT NULL DEFAULT '{}', -- of the last run
    fires        bigint      NOT NULL DEFAULT 0,    -- that made something
    missed       bigint      NOT NULL DEFAULT 0,
    history      integer     NOT NULL DEFAULT 0,    -- rows in schedule_fires since they were last cut, about
    last_fire_at timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX schedules_due ON signalstack.schedules (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX schedules_name ON signalstack.schedules (tenant, name) WHERE name <> '';
CREATE INDEX schedules_tenant ON signalstack.schedules (tenant, id) WHERE tenant <> 'default';
-- What retention looks for.
CREATE INDEX schedules_history ON signalstack.schedules (id) WHERE history > 2000;
CREATE INDEX schedules_done ON signalstack.schedules (updated_at) WHERE one_off AND next_at IS NULL AND NOT paused;

-- Each fire once: the key is what makes it so.
CREATE TABLE signalstack.schedule_fires (
    schedule_id uuid        NOT NULL REFERENCES signalstack.schedules ON DELETE CASCADE,
    fire_at     timestamptz NOT NULL,  -- as the schedule has it
    manual      boolean     NOT NULL,  -- somebody asked for it
    state       text        NOT NULL CHECK (state IN ('made', 'queued', 'skipped', 'failed')),
    due_at      timestamptz NOT NULL,  -- fire_at with its jitter
    made_at     timestamptz NOT NULL,  -- when this was decided
    job_id      uuid,
    event_id    uuid,
    detail      text        NOT NULL,  -- why it made nothing
    PRIMARY KEY (schedule_id, fire_at, manual)
);
CREATE INDEX schedule_fires_queued ON signalstack.schedule_fires (schedule_id, due_at) WHERE state = 'queued';
CREATE INDEX schedule_fires_made_at ON signalstack.schedule_fires (made_at);

-- Fires that could not be in time, as nobody worked or the database was away.
CREATE TABLE signalstack.schedule_misfires (
    schedule_id uuid        NOT NULL REFERENCES signalstack.schedules ON DELETE CASCADE,
    noticed_at  timestamptz NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    missed      bigint      NOT NULL,
    exact       boolean     NOT NULL,  -- false: at least
    made        integer     NOT NULL,  -- of them, all the same
    policy      text        NOT NULL,
    PRIMARY KEY (schedule_id, noticed_at)
);
CREATE INDEX schedule_misfires_noticed ON signalstack.schedule_misfires (noticed_at);

-- The jobs of a schedule. Others need no entry.
CREATE INDEX jobs_schedule ON signalstack.jobs (schedule_id, id) WHERE schedule_id IS NOT NULL;

-- +goose Down
DROP INDEX signalstack.jobs_schedule;
DROP TABLE signalstack.schedule_misfires;
DROP TABLE signalstack.schedule_fires;
DROP TABLE signalstack.schedules;
