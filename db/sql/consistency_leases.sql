-- Leases that have no running job, do not say what it says, belong to nobody who lives, or have lasted for longer than
-- their job may, in the order of their ids after :after. Rows as of consistency_jobs. Reads only.
-- Dead means: gone, or declared dead two leases ago, or silent for three; whoever leads has had the time to act on each.
-- An isolated job waits in its slot for its turn, and its timeout has not begun: it is never overdue here.
-- index: running_pkey, jobs_pkey
WITH looked AS MATERIALIZED (
    SELECT u.id, u.attempt, u.worker_id, u.pool, u.priority
    FROM errander.running u
    WHERE u.id > coalesce(CAST(:after AS uuid), CAST('00000000-0000-0000-0000-000000000000' AS uuid))
    ORDER BY u.id
    LIMIT CAST(:n AS integer)
),
judged AS MATERIALIZED (
    SELECT
        u.id,
        CASE
            WHEN j.id IS NULL THEN 'lease-surplus'
            WHEN
    -- @include lease_differs
                THEN 'lease-differs'
            WHEN
                j.started_at < now() - 2 * make_interval(secs => CAST(:lease AS double precision))
                AND (
                    w.id IS NULL
                    OR w.dead_at < now() - 2 * make_interval(secs => CAST(:lease AS double precision))
                    OR (
                        w.dead_at IS NULL
                        AND w.beat_at < now() - 3 * make_interval(secs => CAST(:lease AS double precision))
                    )
                )
                THEN 'lease-orphaned'
            WHEN
                j.started_at + make_interval(secs => j.timeout + CAST(:seconds AS double precision)) < now()
                AND NOT
    -- @include isolated
                THEN 'running-overdue'
        END AS code
    FROM looked u
    LEFT JOIN LATERAL (
        SELECT
            o.id, o.attempt, o.worker_id, o.pool, o.priority, o.started_at, o.timeout, o.crashes, o.max_crashes
        FROM errander.jobs o
        WHERE o.id = u.id AND o.status || '' = 'RUNNING'
        OFFSET 0
    ) j ON true
    LEFT JOIN errander.workers w ON w.id = u.worker_id
),
broken AS MATERIALIZED (
    SELECT g.code, g.id FROM judged g WHERE g.code IS NOT NULL
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
