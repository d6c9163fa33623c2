-- submit: nothing → PENDING, with the row of the queue in the same statement
-- guard: an id that is there already is left alone, so that the caller may send the same statement again
-- locks: none but the new rows, inserted in id order
-- index: jobs_pkey
WITH
-- @include given_jobs
,
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
    ORDER BY g.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, tenant, task, pool, priority, run_at, created_at, expires_at
),
-- @include queued_jobs
