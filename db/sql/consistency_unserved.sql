-- The earliest job of each queue and task that has been due for :seconds seconds, is not paused, and that no live worker
-- serves. Queues and tasks are found by skipping through the index, at most :n of them. Reads only.
-- index: ready_head
WITH RECURSIVE groups AS (
    (SELECT r.pool, r.priority, r.task, 1 AS number FROM errander.ready r ORDER BY r.pool, r.priority, r.task LIMIT 1)
    UNION ALL
    SELECT n.pool, n.priority, n.task, g.number + 1
    FROM groups g
    CROSS JOIN LATERAL (
        SELECT r.pool, r.priority, r.task
        FROM errander.ready r
        WHERE (r.pool, r.priority, r.task) > (g.pool, g.priority, g.task)
        ORDER BY r.pool, r.priority, r.task
        LIMIT 1
    ) n
    WHERE g.number < CAST(:n AS integer)
),
unserved AS MATERIALIZED (
    SELECT h.id
    FROM groups g
    CROSS JOIN LATERAL (
        SELECT r.id
        FROM errander.ready r
        WHERE
            r.pool = g.pool AND r.priority = g.priority AND r.task = g.task
            AND r.run_at <= now() - make_interval(secs => CAST(:seconds AS double precision))
            AND (r.expires_at IS NULL OR r.expires_at > now())
        ORDER BY r.run_at, r.id
        LIMIT 1
    ) h
    WHERE
        g.task NOT IN (SELECT t.task FROM errander.task_pauses t)
        AND (g.pool, g.priority) NOT IN (SELECT q.pool, q.priority FROM errander.queue_pauses q)
        AND NOT EXISTS (
            SELECT FROM errander.workers w
            WHERE
                w.pool = g.pool AND g.priority = ANY (w.priorities) AND w.tasks ? g.task AND w.slots > 0
                AND w.dead_at IS NULL
                AND w.beat_at > now() - make_interval(secs => CAST(:lease AS double precision))
        )
)
SELECT
    'job-unserved' AS code, CAST(count(*) AS integer) AS found,
    (array_agg(CAST(v.id AS text) ORDER BY v.id))[1:CAST(:most AS integer)] AS examples, CAST(NULL AS text) AS last
FROM unserved v
HAVING count(*) > 0
