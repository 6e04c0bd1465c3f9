-- +goose Up
-- What the log of attempts is filtered by, so that a filter need not unpack the
-- exchange, and what stays of it when its own period is over. Rows that are there
-- keep NULL.
ALTER TABLE signalstack.attempts
    ADD COLUMN status      smallint,  -- HTTP status of the response; NULL: none came
    ADD COLUMN error_class text;      -- why none came; NULL: not known, or one came

-- Most attempts go well, and those that did not are looked for. One that went well
-- costs no entry here. Statements repeat the condition word for word.
CREATE INDEX attempts_notable ON signalstack.attempts (job_id, lease) WHERE state <> 'succeeded' OR status >= 300;

-- +goose Down
DROP INDEX signalstack.attempts_notable;
ALTER TABLE signalstack.attempts DROP COLUMN error_class, DROP COLUMN status;
