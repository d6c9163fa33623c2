-- repair: makes the leases say what some jobs say, and changes nothing where they do already. A lease that is given back
-- is its worker's, who says in its next roll call whether it runs the job, or a dead worker's, and then the reaper's.
-- guard: status and fields of the job; `consistency_lock` ran before in this transaction
-- locks: jobs in id order (before), then running, history
-- index: jobs_pkey, running_pkey
WITH asked AS MATERIALIZED (
    SELECT DISTINCT u.id FROM unnest(CAST(:ids AS uuid[])) AS u (id)
),
held AS MATERIALIZED (
    SELECT j.id, j.attempt, j.worker_id, j.pool, j.priority
    FROM asked a
    CROSS JOIN LATERAL (
        SELECT o.id, o.attempt, o.worker_id, o.pool, o.priority
        FROM errander.jobs o
        WHERE o.id = a.id AND o.status || '' = 'RUNNING'
        OFFSET 0
    ) j
),
surplus AS (
    DELETE FROM errander.running u
    WHERE u.id = ANY (CAST(:ids AS uuid[])) AND NOT EXISTS (SELECT FROM held h WHERE h.id = u.id)
    RETURNING u.id
),
rewritten AS (
    UPDATE errander.running u
    SET attempt = j.attempt, worker_id = j.worker_id, pool = j.pool, priority = j.priority
    FROM held j
    WHERE u.id = ANY (CAST(:ids AS uuid[])) AND u.id = j.id AND
    -- @include lease_differs
    RETURNING u.id
),
added AS (
    INSERT INTO errander.running (id, attempt, worker_id, pool, priority)
    SELECT j.id, j.attempt, j.worker_id, j.pool, j.priority
    FROM held j
    ORDER BY j.id
    ON CONFLICT (id) DO NOTHING
    RETURNING id
),
mended AS MATERIALIZED (
    SELECT 'lease-surplus' AS code, s.id FROM surplus s
    UNION ALL
    SELECT 'lease-differs', r.id FROM rewritten r
    UNION ALL
    SELECT 'lease-missing', a.id FROM added a
),
-- @include noted_repair
