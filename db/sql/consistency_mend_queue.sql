-- repair: makes the queue say what some jobs say, and changes nothing where it does already
-- guard: status and fields of the job; `consistency_lock` ran before in this transaction
-- locks: jobs in id order (before), then ready, history
-- index: jobs_pkey, ready_pkey
WITH asked AS MATERIALIZED (
    SELECT DISTINCT u.id FROM unnest(CAST(:ids AS uuid[])) AS u (id)
),
waiting AS MATERIALIZED (
    SELECT j.id, j.tenant, j.pool, j.priority, j.task, j.run_at, j.expires_at
    FROM asked a
    CROSS JOIN LATERAL (
        SELECT o.id, o.tenant, o.pool, o.priority, o.task, o.run_at, o.expires_at
        FROM errander.jobs o
        WHERE o.id = a.id AND o.status || '' IN ('PENDING', 'RETRYING')
        OFFSET 0
    ) j
),
surplus AS (
    DELETE FROM errander.ready r
    WHERE r.id = ANY (CAST(:ids AS uuid[])) AND NOT EXISTS (SELECT FROM waiting w WHERE w.id = r.id)
    RETURNING r.id
),
rewritten AS (
    UPDATE errander.ready r
    SET tenant = j.tenant, pool = j.pool, priority = j.priority, task = j.task, run_at = j.run_at,
        expires_at = j.expires_at
    FROM waiting j
    WHERE r.id = ANY (CAST(:ids AS uuid[])) AND r.id = j.id AND
    -- @include queue_differs
    RETURNING r.id
),
added AS (
    INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at, expires_at)
    SELECT j.id, j.tenant, j.pool, j.priority, j.task, j.run_at, j.expires_at
    FROM waiting j
    ORDER BY j.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id
),
mended AS MATERIALIZED (
    SELECT 'ready-surplus' AS code, s.id FROM surplus s
    UNION ALL
    SELECT 'ready-differs', r.id FROM rewritten r
    UNION ALL
    SELECT 'ready-missing', a.id FROM added a
),
-- @include noted_repair
