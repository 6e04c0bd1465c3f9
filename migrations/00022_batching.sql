-- +goose Up
-- Jobs that wait so that others can be done with them. One that runs takes those of its
-- lane along before their time.
ALTER TABLE signalstack.scheduled ADD COLUMN gathers boolean NOT NULL DEFAULT false;
CREATE INDEX scheduled_gathers ON signalstack.scheduled (queue, lane, run_at) WHERE gathers;

-- +goose Down
DROP INDEX signalstack.scheduled_gathers;
ALTER TABLE signalstack.scheduled DROP COLUMN gathers;
