-- +goose Up
-- What a job waits for: others, that must all have ended before it runs, as they may
-- (after_any) or well.
ALTER TABLE signalstack.jobs ADD COLUMN after_jobs uuid[], ADD COLUMN after_any boolean NOT NULL DEFAULT false;

-- Jobs that wait for others, which is a place of its own beside ready, scheduled and
-- running. When the last of those has ended a job leaves it, to run or as canceled.
CREATE TABLE signalstack.blocked (
    job_id    uuid        NOT NULL PRIMARY KEY,
    priority  smallint    NOT NULL,
    run_at    timestamptz NOT NULL,  -- not before; -infinity: no matter
    delay_us  bigint      NOT NULL,  -- from when it leaves
    gathers   boolean     NOT NULL,
    after_any boolean     NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- What is still to end. A row goes when its job (before_id) has ended as it must.
CREATE TABLE signalstack.dependencies (
    before_id uuid NOT NULL,
    after_id  uuid NOT NULL,
    PRIMARY KEY (before_id, after_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
-- Not with before_id: an index that has both columns can be read whole instead of the
-- primary key, which costs the same while statistics say that the table is empty.
CREATE INDEX dependencies_after ON signalstack.dependencies (after_id);

-- Jobs that may have ended and that others wait for: written by whatever ends a job,
-- and emptied by one worker at a time. No row of a job that waits is touched when one
-- of the many that it waits for ends.
CREATE TABLE signalstack.followed (
    job_id uuid        NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX followed_at ON signalstack.followed (at);

-- Whoever writes there wakes who reads.
-- +goose StatementBegin
CREATE FUNCTION signalstack.notify_followed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('signalstack_queue', 'followed');
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER followed_notify AFTER INSERT ON signalstack.followed FOR EACH ROW EXECUTE FUNCTION signalstack.notify_followed();

-- +goose Down
-- Jobs that wait for others run, rather than be lost.
INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
SELECT b.job_id, j.queue, j.lane, b.priority, now(), 0, 0 FROM signalstack.blocked AS b JOIN signalstack.jobs AS j ON j.id = b.job_id;
DROP TABLE signalstack.followed;
DROP FUNCTION signalstack.notify_followed;
DROP TABLE signalstack.dependencies;
DROP TABLE signalstack.blocked;
ALTER TABLE signalstack.jobs DROP COLUMN after_any, DROP COLUMN after_jobs;
