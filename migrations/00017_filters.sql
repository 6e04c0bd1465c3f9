-- +goose Up
-- What of the events that an endpoint subscribes to it gets, and as what. The trigger
-- of the routes' version sees changes of these as of any column.
ALTER TABLE signalstack.endpoints
    ADD COLUMN pattern   text,                      -- JSON as it was given; NULL: none
    ADD COLUMN transform text NOT NULL DEFAULT '';  -- jq program; '': none

-- +goose Down
ALTER TABLE signalstack.endpoints DROP COLUMN transform, DROP COLUMN pattern;
