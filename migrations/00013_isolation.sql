-- +goose Up
-- Until when nothing of a lane is claimed, in every queue (the empty one); from then
-- on one job at a time is, until the lane is opened.
ALTER TABLE signalstack.controls ADD COLUMN closed_until timestamptz;

-- Limits of a lane in all queues count by it. Only jobs that a limit counts have an
-- entry.
CREATE INDEX running_limited_lane ON signalstack.running (lane) WHERE limited;

-- +goose Down
DROP INDEX signalstack.running_limited_lane;
ALTER TABLE signalstack.controls DROP COLUMN closed_until;
