-- +goose Up
-- Work on many rows that goes on in the background, such as a replay. Workers do it
-- a slice at a time; where it stands is written in the transaction of what the slice
-- did, so each item is done once, whoever dies.
CREATE TABLE signalstack.bulk_operations (
    id          uuid        NOT NULL PRIMARY KEY,
    tenant      text        NOT NULL,
    kind        text        NOT NULL,  -- replay
    spec        text        NOT NULL,  -- JSON, of the kind
    state       text        NOT NULL CHECK (state IN ('running', 'done', 'canceled', 'failed')),
    position    text        NOT NULL,  -- the last item that was counted, or done once total is known
    counted     bigint      NOT NULL,
    total       bigint,                -- NULL until all are counted
    done        bigint      NOT NULL,
    skipped     bigint      NOT NULL,  -- of those done: what could not be, and was passed over
    made        bigint      NOT NULL,  -- what came of them
    rate        integer     NOT NULL CHECK (rate > 0),   -- items a second
    batch       integer     NOT NULL CHECK (batch >= 0), -- items of the next slice; 0: pass one over
    failures    integer     NOT NULL,  -- in a row
    last_error  text        NOT NULL,
    due_at      timestamptz NOT NULL,  -- of the next slice
    touched_at  timestamptz NOT NULL,  -- operations have turns
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX bulk_operations_running ON signalstack.bulk_operations (touched_at) WHERE state = 'running';
CREATE INDEX bulk_operations_kind ON signalstack.bulk_operations (kind, id);
CREATE INDEX bulk_operations_finished ON signalstack.bulk_operations (finished_at) WHERE state <> 'running';

-- The replay that made a job. Few jobs have one, and the others need no entry.
ALTER TABLE signalstack.jobs ADD COLUMN replay_id uuid;
CREATE INDEX jobs_replay ON signalstack.jobs (replay_id, id) WHERE replay_id IS NOT NULL;

-- +goose Down
ALTER TABLE signalstack.jobs DROP COLUMN replay_id;
DROP TABLE signalstack.bulk_operations;
