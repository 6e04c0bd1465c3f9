-- +goose Up
-- What a CloudEvent says beyond the fields that every event has. Adding a column
-- with a constant default rewrites no row.
ALTER TABLE signalstack.events
    ADD COLUMN content_type text    NOT NULL DEFAULT '',    -- datacontenttype; empty: not said, which is JSON
    ADD COLUMN data_schema  text    NOT NULL DEFAULT '',    -- dataschema
    ADD COLUMN extensions   text    NOT NULL DEFAULT '',    -- a JSON object of scalars; empty: none
    ADD COLUMN opaque       boolean NOT NULL DEFAULT false; -- data is not JSON

-- What the body of a webhook to the endpoint is.
ALTER TABLE signalstack.endpoints
    ADD COLUMN format text NOT NULL DEFAULT 'standard'
        CHECK (format IN ('standard', 'cloudevents-binary', 'cloudevents-structured'));

-- The HTTP status of the first answer: an array may have been accepted in part.
ALTER TABLE signalstack.idempotency_keys
    ADD COLUMN status smallint NOT NULL DEFAULT 201;

-- +goose Down
ALTER TABLE signalstack.idempotency_keys DROP COLUMN status;
ALTER TABLE signalstack.endpoints DROP COLUMN format;
ALTER TABLE signalstack.events
    DROP COLUMN opaque,
    DROP COLUMN extensions,
    DROP COLUMN data_schema,
    DROP COLUMN content_type;
