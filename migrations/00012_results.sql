-- +goose Up
-- What the attempt came to, for those who read the job later: JSON, on success only.
ALTER TABLE signalstack.attempts ADD COLUMN result bytea;

-- +goose Down
ALTER TABLE signalstack.attempts DROP COLUMN result;
