-- +goose Up
-- What an application calls in a transaction of its own: enqueue and send_event.
-- Both run with the rights of who migrates, so that an application needs no right
-- on any table, and nobody may call them until the operator grants it. They refuse
-- what the API refuses, before anything is written.

-- A UUIDv7 like those of the binary: 48 bits of milliseconds, the version, 12 bits
-- of the rest of the time, then the variant and 62 random bits.
-- +goose StatementBegin
CREATE FUNCTION signalstack.uuid7(at timestamptz DEFAULT clock_timestamp()) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(int8send(((us / 1000) << 16) | 28672 | (((us % 1000) * 1000) >> 8)) || substring(uuid_send(gen_random_uuid()) FROM 9), 'hex')::uuid
    FROM (SELECT (extract(epoch FROM at) * 1000000)::bigint AS us) AS clock
$$;
-- +goose StatementEnd

-- require raises when an argument is wrong, and says how to mend it.
-- +goose StatementBegin
CREATE FUNCTION signalstack.require(ok boolean, argument text, mend text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF ok IS NOT TRUE THEN
        RAISE EXCEPTION '% %', argument, mend USING ERRCODE = '22023';
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION signalstack.check_name(argument text, value text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM signalstack.require(value COLLATE "C" ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$', argument,
        'must be 1 to 63 letters, digits or _ . : - and begin with a letter or digit');
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION signalstack.check_text(argument text, value text, most integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM signalstack.require(char_length(value) <= most, argument, format('must have at most %s characters', most));
    PERFORM signalstack.require(value COLLATE "C" !~ '[\u0001-\u001f\u007f]', argument, 'must not hold control characters');
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION signalstack.check_key(argument text, value text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM signalstack.require(value <> '', argument, 'must not be empty; leave it out to go without');
    PERFORM signalstack.require(octet_length(convert_to(value, 'UTF8')) <= 255, argument, 'must have at most 255 bytes');
    PERFORM signalstack.check_text(argument, value, 255);
END
$$;
-- +goose StatementEnd

-- A time that every reader can hold: neither infinite nor outside the years 1 to 9999.
-- +goose StatementBegin
CREATE FUNCTION signalstack.check_time(argument text, value timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM signalstack.require(value >= '0001-01-01T00:00:00Z' AND value <= '9999-12-31T23:59:59.999999Z', argument,
        'must be a time from the year 1 to 9999');
END
$$;
-- +goose StatementEnd

-- check_json keeps to the bounds of a request's body: 1 MiB, nested 512 deep. The
-- depth is how often the innermost brackets can be taken away; it is only looked
-- at where there are brackets enough.
-- +goose StatementBegin
CREATE FUNCTION signalstack.check_json(argument text, value text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mistake  text;
    brackets text;
BEGIN
    PERFORM signalstack.require(octet_length(convert_to(value, 'UTF8')) <= 1048576, argument, 'must have at most 1048576 bytes');
    BEGIN
        PERFORM value::json;
    EXCEPTION
        WHEN invalid_text_representation THEN
            GET STACKED DIAGNOSTICS mistake = PG_EXCEPTION_DETAIL;
            PERFORM signalstack.require(false, argument, 'must be JSON, such as jsonb_build_object(...)::text makes: ' || mistake);
        WHEN statement_too_complex THEN
            PERFORM signalstack.require(false, argument, 'must not nest deeper than 512 levels');
    END;
    IF length(value) - length(translate(value, '[{', '')) <= 512 THEN
        RETURN;
    END IF;
    brackets := regexp_replace(value, '"(\\.|[^"\\])*"', '', 'g');
    brackets := translate(regexp_replace(brackets, '[^][{}]+', '', 'g'), '{}', '[]');
    FOR level IN 1..512 LOOP
        brackets := replace(brackets, '[]', '');
        EXIT WHEN brackets = '';
    END LOOP;
    PERFORM signalstack.require(brackets = '', argument, 'must not nest deeper than 512 levels');
END
$$;
-- +goose StatementEnd

-- check_retry refuses what no policy says. How long a wait may be is not looked at:
-- who reads the policy keeps it within bounds.
-- +goose StatementBegin
CREATE FUNCTION signalstack.check_retry(retry jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    duration CONSTANT text := '^(0|([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+)$';
    strategy text;
    field    text;
BEGIN
    PERFORM signalstack.require(jsonb_typeof(retry) = 'object', 'retry', 'must be an object such as {"strategy": "exponential", "base": "5s"}');
    FOR field IN SELECT jsonb_object_keys(retry) LOOP
        PERFORM signalstack.require(field IN ('strategy', 'base', 'factor', 'cap', 'ladder', 'jitter'), 'retry',
            'must hold strategy, base, factor, cap, ladder and jitter only');
    END LOOP;
    strategy := coalesce(retry ->> 'strategy', 'exponential');
    PERFORM signalstack.require(strategy IN ('exponential', 'ladder'), 'retry', 'must have the strategy exponential or ladder');
    PERFORM signalstack.require(coalesce(retry ->> 'jitter', 'none') IN ('full', 'proportional', 'none'), 'retry',
        'must have the jitter full, proportional or none');
    IF strategy = 'ladder' THEN
        PERFORM signalstack.require(NOT retry ?| ARRAY['base', 'factor', 'cap'], 'retry', 'must have no base, factor or cap beside the strategy ladder');
        PERFORM signalstack.require(jsonb_typeof(retry -> 'ladder') = 'array', 'retry', 'must have a ladder of waits such as ["5s", "5m", "30m"]');
        PERFORM signalstack.require(jsonb_array_length(retry -> 'ladder') BETWEEN 1 AND 100, 'retry', 'must have a ladder of 1 to 100 waits');
        PERFORM signalstack.require(jsonb_typeof(rung) = 'string' AND rung #>> '{}' ~ duration, 'retry', 'must have waits such as 90s or 1h30m in its ladder')
        FROM jsonb_array_elements(retry -> 'ladder') AS rung;
        RETURN;
    END IF;
    PERFORM signalstack.require(NOT retry ? 'ladder', 'retry', 'must have no ladder beside the strategy exponential');
    FOREACH field IN ARRAY ARRAY['base', 'cap'] LOOP
        PERFORM signalstack.require(retry ->> field IS NULL OR jsonb_typeof(retry -> field) = 'string' AND retry ->> field ~ duration, 'retry',
            'must have waits such as 90s or 1h30m as base and cap');
    END LOOP;
    IF retry ->> 'factor' IS NOT NULL THEN
        PERFORM signalstack.require(jsonb_typeof(retry -> 'factor') = 'number', 'retry', 'must have a number as factor');
        PERFORM signalstack.require((retry ->> 'factor')::numeric BETWEEN 1 AND 100, 'retry', 'must have a factor from 1 to 100');
    END IF;
END
$$;
-- +goose StatementEnd

-- webhook_endpoint checks the payload of a webhook and gives the endpoint it names.
-- The payload is read without the escapes that no text can hold, such as \u0000: in
-- data they are legal, and they would keep the other fields from being read. An
-- escaped backslash stays, so that what follows it is no escape.
-- +goose StatementBegin
CREATE FUNCTION signalstack.webhook_endpoint(tenant text, payload text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    fields json := regexp_replace(payload, '(\\\\)|\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1', 'g');
    named  text;
    known  boolean;
BEGIN
    PERFORM signalstack.require(json_typeof(fields) = 'object', 'payload', 'of a webhook must be {"endpoint_id": ..., "type": ..., "data": ...}');
    PERFORM signalstack.require(f.name IN ('endpoint_id', 'type', 'data'), 'payload', 'of a webhook must hold endpoint_id, type and data only')
    FROM json_object_keys(fields) AS f (name);
    PERFORM signalstack.require(json_typeof(fields -> 'type') = 'string' AND fields ->> 'type' <> '', 'payload', 'of a webhook must have a type, which says what happened');
    PERFORM signalstack.check_text('type in the payload', fields ->> 'type', 255);
    named := fields ->> 'endpoint_id';
    PERFORM signalstack.require(named ~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$', 'payload', 'of a webhook must have an endpoint_id, which is a UUID');
    SELECT true INTO known FROM signalstack.endpoints AS e WHERE e.id = named::uuid AND e.tenant = webhook_endpoint.tenant;
    PERFORM signalstack.require(known, 'payload', 'must have the endpoint_id of an endpoint of this tenant; create it with POST /endpoints first');
    RETURN named::uuid;
END
$$;
-- +goose StatementEnd

-- ensure_partitions makes the partitions of a day where no worker has made them
-- ahead, as the binary does: under the same lock, and by ATTACH.
-- +goose StatementBegin
CREATE FUNCTION signalstack.ensure_partitions(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    day   date := (at AT TIME ZONE 'UTC')::date;
    start bigint := extract(epoch FROM day)::bigint * 1000;
    part  text;
    whole text;
BEGIN
    IF to_regclass('signalstack.jobs_' || to_char(day, 'YYYYMMDD')) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('signalstack partitions'));
    FOREACH whole IN ARRAY ARRAY['events', 'jobs', 'attempts'] LOOP
        part := whole || '_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('signalstack.' || part) IS NOT NULL;
        EXECUTE format('CREATE TABLE signalstack.%I (LIKE signalstack.%I INCLUDING ALL)', part, whole);
        EXECUTE format('ALTER TABLE signalstack.%I ATTACH PARTITION signalstack.%I FOR VALUES FROM (%L) TO (%L)', whole, part,
            encode(int8send(start << 16), 'hex') || repeat('0', 16), encode(int8send((start + 86400000) << 16), 'hex') || repeat('0', 16));
    END LOOP;
END
$$;
-- +goose StatementEnd

-- line_up makes a job ready, or scheduled where its time is yet to come, and tells
-- workers at the commit. What is due soon is told by the clock, because the
-- transaction of an application may have begun long ago.
-- +goose StatementBegin
CREATE FUNCTION signalstack.line_up(job_id uuid, queue text, lane text, priority integer, run_at timestamptz, lease bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF run_at <= now() THEN
        INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
        VALUES (job_id, queue, lane, priority, now(), 0, lease);
        PERFORM signalstack.notify_ready(queue, ARRAY[lane]);
        RETURN;
    END IF;
    INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease)
    VALUES (job_id, queue, lane, priority, run_at, 0, lease);
    IF run_at < clock_timestamp() + interval '3 seconds' THEN
        PERFORM signalstack.notify_scheduled(run_at);
    END IF;
END
$$;
-- +goose StatementEnd

-- line_up_in_order gives a job its turn where no other of its ordering key has it,
-- and else lets it wait. The row of the key is inserted or locked, as the binary
-- does; whoever waits for it must see afterwards what its holder did, which only
-- READ COMMITTED grants.
-- +goose StatementBegin
CREATE FUNCTION signalstack.line_up_in_order(job_id uuid, tenant text, ordering_key text, queue text, lane text, priority integer, run_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'ordering_key needs a READ COMMITTED transaction, this one is %', upper(current_setting('transaction_isolation')) USING ERRCODE = '0A000';
    END IF;
    INSERT INTO signalstack.ordering_keys AS k (tenant, ordering_key) VALUES (tenant, ordering_key)
    ON CONFLICT ON CONSTRAINT ordering_keys_pkey DO UPDATE SET tenant = k.tenant WHERE false;
    IF FOUND THEN
        PERFORM signalstack.line_up(job_id, queue, lane, priority, run_at, 0);
        RETURN;
    END IF;
    INSERT INTO signalstack.ordered (job_id, tenant, ordering_key, queue, lane, priority, run_at, lease)
    VALUES (job_id, tenant, ordering_key, queue, lane, priority, run_at, 0);
END
$$;
-- +goose StatementEnd

-- enqueue adds a job as POST /jobs does and gives its id. NULL is the default of
-- every argument but kind. Attempts and timeouts of a kind are known to the binary
-- only: here are those of the kinds that come with it. A kind that no worker knows
-- waits for one that does.
-- +goose StatementBegin
CREATE FUNCTION signalstack.enqueue(
    kind         text,
    payload      text        DEFAULT NULL,
    queue        text        DEFAULT NULL,
    priority     integer     DEFAULT 2,
    run_at       timestamptz DEFAULT now(),
    tenant       text        DEFAULT 'default',
    max_attempts integer     DEFAULT NULL,
    timeout      interval    DEFAULT NULL,
    ordering_key text        DEFAULT '',
    limit_key    text        DEFAULT '',
    retry        jsonb       DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made     timestamptz := clock_timestamp();
    job_id   uuid := signalstack.uuid7(made);
    endpoint uuid;
    lane     text;
BEGIN
    PERFORM signalstack.check_name('kind', kind);
    payload := nullif(payload, '');
    queue := coalesce(nullif(queue, ''), CASE kind WHEN 'email' THEN 'email' ELSE 'default' END);
    priority := coalesce(priority, 2);
    run_at := coalesce(run_at, now());
    tenant := coalesce(nullif(tenant, ''), 'default');
    max_attempts := coalesce(max_attempts, CASE kind WHEN 'webhook' THEN 10 ELSE 8 END);
    timeout := coalesce(timeout, CASE kind WHEN 'email' THEN interval '30 seconds' ELSE interval '15 seconds' END);
    ordering_key := coalesce(ordering_key, '');
    limit_key := coalesce(limit_key, '');

    PERFORM signalstack.check_name('queue', queue);
    PERFORM signalstack.check_name('tenant', tenant);
    PERFORM signalstack.require(priority BETWEEN 1 AND 4, 'priority', 'must be 1 to 4; 1 is served first');
    PERFORM signalstack.check_time('run_at', run_at);
    PERFORM signalstack.require(run_at <= now() + interval '3660 days', 'run_at', 'must be at most ten years ahead');
    PERFORM signalstack.require(max_attempts BETWEEN 1 AND 1000, 'max_attempts', 'must be 1 to 1000');
    PERFORM signalstack.require(timeout BETWEEN interval '1 millisecond' AND interval '24 hours', 'timeout', 'must be an interval from 1 millisecond to 24 hours');
    PERFORM signalstack.check_text('ordering_key', ordering_key, 255);
    PERFORM signalstack.check_text('limit_key', limit_key, 255);
    IF payload IS NOT NULL THEN
        PERFORM signalstack.check_json('payload', payload);
    END IF;
    IF retry IS NOT NULL THEN
        PERFORM signalstack.check_retry(retry);
    END IF;
    IF kind = 'webhook' THEN
        endpoint := signalstack.webhook_endpoint(tenant, coalesce(payload, '{}'));
    END IF;

    lane := CASE WHEN limit_key <> '' THEN tenant || '#' || limit_key WHEN endpoint IS NOT NULL THEN tenant || '/' || endpoint ELSE tenant END;
    PERFORM signalstack.ensure_partitions(made);
    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, payload, event_type, endpoint_id,
                                  ordering_key, max_attempts, timeout_ms, retry, created_at)
    VALUES (job_id, tenant, kind, queue, lane, priority, run_at, convert_to(payload, 'UTF8'), '', endpoint,
            ordering_key, max_attempts, trunc(extract(epoch FROM timeout) * 1000)::integer, coalesce(retry::text, ''), now());
    IF ordering_key <> '' THEN
        PERFORM signalstack.line_up_in_order(job_id, tenant, ordering_key, queue, lane, priority, run_at);
    ELSE
        PERFORM signalstack.line_up(job_id, queue, lane, priority, run_at, 0);
    END IF;
    INSERT INTO signalstack.analytics_deltas (at, fact, tenant, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us)
    VALUES (date_trunc('minute', now()), 'job_created', tenant, '', kind, queue, '', coalesce(endpoint, '00000000-0000-0000-0000-000000000000'), -1, 1, 0);
    RETURN job_id;
END
$$;
-- +goose StatementEnd

-- Events that applications sent and no worker has routed yet. A worker deletes a row
-- in the transaction that writes its event and its jobs.
CREATE TABLE signalstack.outbox (
    id              bigint      NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    event_id        uuid        NOT NULL,  -- what send_event answered
    tenant          text        NOT NULL,
    type            text        NOT NULL,
    source          text        NOT NULL,
    subject         text        NOT NULL,
    sender_id       text,
    idempotency_key text,
    time            timestamptz NOT NULL CHECK (time >= '0001-01-01T00:00:00Z' AND time <= '9999-12-31T23:59:59.999999Z'),
    data            bytea,                 -- the bytes as they came
    created_at      timestamptz NOT NULL,
    failed_at       timestamptz,           -- set aside, because it cannot be stored
    error           text                   -- why
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- send_event sends an event as POST /events does and gives the id that it will have.
-- Rules are matched by the workers, soon after the commit.
-- +goose StatementBegin
CREATE FUNCTION signalstack.send_event(
    type            text,
    data            text        DEFAULT NULL,
    source          text        DEFAULT '',
    subject         text        DEFAULT '',
    event_time      timestamptz DEFAULT now(),
    tenant          text        DEFAULT 'default',
    sender_id       text        DEFAULT NULL,
    idempotency_key text        DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event_id uuid := signalstack.uuid7();
BEGIN
    data := nullif(data, '');
    source := coalesce(source, '');
    subject := coalesce(subject, '');
    event_time := coalesce(event_time, now());
    tenant := coalesce(nullif(tenant, ''), 'default');

    PERFORM signalstack.require(type ~ '[^[:space:]]', 'type', 'must not be blank; it says what happened, such as payment.succeeded');
    PERFORM signalstack.check_text('type', type, 255);
    PERFORM signalstack.check_text('source', source, 2048);
    PERFORM signalstack.check_text('subject', subject, 2048);
    PERFORM signalstack.check_name('tenant', tenant);
    PERFORM signalstack.check_time('event_time', event_time);
    IF sender_id IS NOT NULL THEN
        PERFORM signalstack.check_key('sender_id', sender_id);
    END IF;
    IF idempotency_key IS NOT NULL THEN
        PERFORM signalstack.check_key('idempotency_key', idempotency_key);
    END IF;
    IF data IS NOT NULL THEN
        PERFORM signalstack.check_json('data', data);
    END IF;

    INSERT INTO signalstack.outbox (event_id, tenant, type, source, subject, sender_id, idempotency_key, time, data, created_at)
    VALUES (event_id, tenant, type, source, subject, sender_id, idempotency_key, event_time, convert_to(data, 'UTF8'), now());
    PERFORM pg_notify('signalstack_outbox', '');
    RETURN event_id;
END
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON FUNCTION signalstack.enqueue, signalstack.send_event FROM PUBLIC;

-- +goose Down
DROP FUNCTION signalstack.send_event;
DROP TABLE signalstack.outbox;
DROP FUNCTION signalstack.enqueue;
DROP FUNCTION signalstack.line_up_in_order;
DROP FUNCTION signalstack.line_up;
DROP FUNCTION signalstack.ensure_partitions;
DROP FUNCTION signalstack.webhook_endpoint;
DROP FUNCTION signalstack.check_retry;
DROP FUNCTION signalstack.check_json;
DROP FUNCTION signalstack.check_time;
DROP FUNCTION signalstack.check_key;
DROP FUNCTION signalstack.check_text;
DROP FUNCTION signalstack.check_name;
DROP FUNCTION signalstack.require;
DROP FUNCTION signalstack.uuid7;
