-- submit under idempotency keys: the keys and the jobs they make, in one statement that commits by itself
-- guard: a job is made only for a key that this statement won; a key that is held, or held by somebody who has not
--        committed yet, makes none. Waiting for the latter ends after :patience with lock_not_available
--        Of two jobs with one key in the same call the one with the smaller id is made
-- locks: idempotency_keys in (tenant, route, key) order, then new rows of jobs and ready in id order
-- index: idempotency_keys_pkey, jobs_pkey
WITH
-- Set before the first key is tried, for this transaction only: a statement of its own would cost a round trip.
patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', CAST(:patience AS text), true) AS granted
),
-- @include given_jobs
,
won AS (
    INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)
    SELECT
        g.tenant, CAST(:route AS text), g.idempotency_key,
        k.content || jsonb_build_object('@run_at', g.run_at, '@expires_at', g.expires_at),
        ARRAY[g.id], g.run_at + CAST(:hours AS double precision) * interval '1 hour'
    FROM given g
    JOIN unnest(CAST(:ids AS uuid[]), CAST(:contents AS jsonb[])) AS k (id, content) ON k.id = g.id
    JOIN patience p ON p.granted IS NOT NULL
    ORDER BY g.tenant, g.idempotency_key, g.id
    ON CONFLICT (tenant, route, key) DO NOTHING
    RETURNING job_ids[1] AS id
),
inserted AS (
    INSERT INTO errander.jobs (
        id, tenant, task, pool, priority, status, payload, max_attempts, max_crashes, timeout, backoff, run_at,
        created_at, expires_at, tags, metadata, idempotency_key, payload_bytes
    )
    SELECT
        g.id, g.tenant, g.task, g.pool, g.priority, 'PENDING', g.payload, g.max_attempts, g.max_crashes, g.timeout,
        g.backoff, g.run_at, now(), g.expires_at, g.tags, g.metadata, g.idempotency_key,
        g.payload_bytes
    FROM given g
    JOIN won w ON w.id = g.id
    ORDER BY g.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, tenant, task, pool, priority, run_at, created_at, expires_at
),
-- @include queued_jobs
