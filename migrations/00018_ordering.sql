-- +goose Up
-- Whether the next job of its ordering key comes when an attempt of the job fails, and
-- not at its end only.
ALTER TABLE signalstack.jobs ADD COLUMN skips boolean NOT NULL DEFAULT false;

ALTER FUNCTION signalstack.enqueue RENAME TO enqueue_before;

-- enqueue adds a job as POST /jobs does and gives its id. NULL is the default of
-- every argument but kind. Attempts and timeouts of a kind are known to the binary
-- only: here are those of the kinds that come with it. A kind that no worker knows
-- waits for one that does. A webhook to an endpoint that orders all of its deliveries
-- stands in the endpoint's line; one that orders them by a value of the event leaves
-- what comes from SQL without an ordering_key alone.
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
    retry        jsonb       DEFAULT NULL,
    on_failure   text        DEFAULT 'block'
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made     timestamptz := clock_timestamp();
    job_id   uuid := signalstack.uuid7(made);
    endpoint uuid;
    ordering jsonb;
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
    on_failure := coalesce(nullif(on_failure, ''), 'block');

    PERFORM signalstack.check_name('queue', queue);
    PERFORM signalstack.check_name('tenant', tenant);
    PERFORM signalstack.require(priority BETWEEN 1 AND 4, 'priority', 'must be 1 to 4; 1 is served first');
    PERFORM signalstack.check_time('run_at', run_at);
    PERFORM signalstack.require(run_at <= now() + interval '3660 days', 'run_at', 'must be at most ten years ahead');
    PERFORM signalstack.require(max_attempts BETWEEN 1 AND 1000, 'max_attempts', 'must be 1 to 1000');
    PERFORM signalstack.require(timeout BETWEEN interval '1 millisecond' AND interval '24 hours', 'timeout', 'must be an interval from 1 millisecond to 24 hours');
    PERFORM signalstack.check_text('ordering_key', ordering_key, 255);
    PERFORM signalstack.check_text('limit_key', limit_key, 255);
    PERFORM signalstack.require(on_failure IN ('block', 'skip'), 'on_failure', 'must be block or skip');
    PERFORM signalstack.require(on_failure = 'block' OR ordering_key <> '', 'on_failure', 'goes with an ordering_key; give one, or leave it out');
    IF payload IS NOT NULL THEN
        PERFORM signalstack.check_json('payload', payload);
    END IF;
    IF retry IS NOT NULL THEN
        PERFORM signalstack.check_retry(retry);
    END IF;
    IF kind = 'webhook' THEN
        endpoint := signalstack.webhook_endpoint(tenant, coalesce(payload, '{}'));
        SELECT e.delivery::jsonb -> 'ordering' INTO ordering FROM signalstack.endpoints AS e WHERE e.id = endpoint;
        IF ordering_key = '' AND ordering ->> 'by' = 'endpoint' THEN
            ordering_key := 'endpoint/' || endpoint;
            on_failure := coalesce(ordering ->> 'on_failure', 'block');
        END IF;
    END IF;

    lane := CASE WHEN limit_key <> '' THEN tenant || '#' || limit_key WHEN endpoint IS NOT NULL THEN tenant || '/' || endpoint ELSE tenant END;
    PERFORM signalstack.ensure_partitions(made);
    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, payload, event_type, endpoint_id,
                                  ordering_key, skips, max_attempts, timeout_ms, retry, created_at)
    VALUES (job_id, tenant, kind, queue, lane, priority, run_at, convert_to(payload, 'UTF8'), '', endpoint,
            ordering_key, ordering_key <> '' AND on_failure = 'skip', max_attempts, trunc(extract(epoch FROM timeout) * 1000)::integer, coalesce(retry::text, ''), now());
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
REVOKE EXECUTE ON FUNCTION signalstack.enqueue FROM PUBLIC;

-- Who may call it stays so.
-- +goose StatementBegin
DO $$
DECLARE
    may record;
BEGIN
    FOR may IN
        SELECT a.grantee::regrole AS who, a.is_grantable
        FROM pg_proc AS p CROSS JOIN aclexplode(p.proacl) AS a
        WHERE p.pronamespace = 'signalstack'::regnamespace AND p.proname = 'enqueue_before' AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION signalstack.enqueue TO %s', may.who) || CASE WHEN may.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP FUNCTION signalstack.enqueue_before;

-- +goose Down
ALTER FUNCTION signalstack.enqueue RENAME TO enqueue_before;

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
REVOKE EXECUTE ON FUNCTION signalstack.enqueue FROM PUBLIC;

-- Who may call it stays so.
-- +goose StatementBegin
DO $$
DECLARE
    may record;
BEGIN
    FOR may IN
        SELECT a.grantee::regrole AS who, a.is_grantable
        FROM pg_proc AS p CROSS JOIN aclexplode(p.proacl) AS a
        WHERE p.pronamespace = 'signalstack'::regnamespace AND p.proname = 'enqueue_before' AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION signalstack.enqueue TO %s', may.who) || CASE WHEN may.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
END
$$;
-- +goose StatementEnd
DROP FUNCTION signalstack.enqueue_before;

ALTER TABLE signalstack.jobs DROP COLUMN skips;
