-- Rows of the queue that have no waiting job or do not say what it says, in the order of their ids after :after, and with
-- :both ends the newest too. Rows as of consistency_jobs. Reads only.
-- index: ready_pkey, jobs_pkey
WITH looked AS MATERIALIZED (
    (
        SELECT r.id, r.tenant, r.pool, r.priority, r.task, r.run_at, r.expires_at
        FROM errander.ready r
        WHERE r.id > coalesce(CAST(:after AS uuid), CAST('00000000-0000-0000-0000-000000000000' AS uuid))
        ORDER BY r.id
        LIMIT CAST(:n AS integer)
    )
    UNION
    (
        SELECT r.id, r.tenant, r.pool, r.priority, r.task, r.run_at, r.expires_at
        FROM errander.ready r
        ORDER BY r.id DESC
        LIMIT CASE WHEN CAST(:both AS boolean) THEN CAST(:n AS integer) ELSE 0 END
    )
),
broken AS MATERIALIZED (
    SELECT
        CASE WHEN j.id IS NULL THEN 'ready-surplus' ELSE 'ready-differs' END AS code, r.id
    FROM looked r
    LEFT JOIN LATERAL (
        SELECT o.id, o.tenant, o.pool, o.priority, o.task, o.run_at, o.expires_at
        FROM errander.jobs o
        WHERE o.id = r.id AND o.status || '' IN ('PENDING', 'RETRYING')
        OFFSET 0
    ) j ON true
    WHERE j.id IS NULL OR
    -- @include queue_differs
)
SELECT
    b.code, CAST(count(*) AS integer) AS found,
    (array_agg(CAST(b.id AS text) ORDER BY b.id))[1:CAST(:most AS integer)] AS examples, CAST(NULL AS text) AS last
FROM broken b
GROUP BY b.code
UNION ALL
SELECT
    NULL, CAST((SELECT count(*) FROM looked) AS integer), NULL,
    (SELECT CAST(l.id AS text) FROM looked l ORDER BY l.id DESC LIMIT 1)
