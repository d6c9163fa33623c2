-- The queue by pool, priority and task: due, due later, the oldest due, and whether anything may start them. Each is counted
-- up to :bound; beyond that the leader's last count stands in, where it is no older than a minute, and `exact` is false.
-- index: ready_head, queue_counts_pkey
WITH RECURSIVE
-- What there is, one step through the index for each: as many steps as tasks wait, however many jobs wait of each.
parts AS (
    (
        SELECT r.pool, r.priority, r.task FROM errander.ready r ORDER BY r.pool, r.priority, r.task LIMIT 1
    )
    UNION ALL
    SELECT n.pool, n.priority, n.task
    FROM parts p
    CROSS JOIN LATERAL (
        SELECT r.pool, r.priority, r.task
        FROM errander.ready r
        WHERE (r.pool, r.priority, r.task) > (p.pool, p.priority, p.task)
        ORDER BY r.pool, r.priority, r.task
        LIMIT 1
    ) AS n
),
live AS (
    SELECT DISTINCT w.pool, p.priority, t.task
    FROM errander.workers w
    CROSS JOIN LATERAL unnest(w.priorities) AS p (priority)
    CROSS JOIN LATERAL jsonb_object_keys(w.tasks) AS t (task)
    WHERE
        w.dead_at IS NULL
        AND w.slots > 0
        AND w.beat_at > now() - CAST(:lease AS double precision) * interval '1 second'
),
waiting AS (
    SELECT p.pool, p.priority, p.task, d.due, l.scheduled, d.oldest
    FROM parts p
    CROSS JOIN LATERAL (
        SELECT count(*) AS due, min(f.run_at) AS oldest
        FROM (
            SELECT r.run_at
            FROM errander.ready r
            WHERE
                r.pool = p.pool AND r.priority = p.priority AND r.task = p.task
                AND r.run_at <= now() AND (r.expires_at IS NULL OR r.expires_at > now())
            ORDER BY r.run_at
            LIMIT CAST(:bound AS integer)
        ) AS f
    ) AS d
    CROSS JOIN LATERAL (
        SELECT count(*) AS scheduled
        FROM (
            SELECT 1
            FROM errander.ready r
            WHERE r.pool = p.pool AND r.priority = p.priority AND r.task = p.task AND r.run_at > now()
            ORDER BY r.run_at
            LIMIT CAST(:bound AS integer)
        ) AS f
    ) AS l
)
SELECT
    w.pool, w.priority, w.task,
    CASE WHEN w.due < CAST(:bound AS integer) THEN w.due ELSE greatest(w.due, c.due) END AS due,
    CASE WHEN w.scheduled < CAST(:bound AS integer) THEN w.scheduled ELSE greatest(w.scheduled, c.scheduled) END AS scheduled,
    CAST(extract(epoch FROM now() - w.oldest) AS double precision) AS oldest_seconds,
    EXISTS (SELECT FROM errander.queue_pauses q WHERE q.pool = w.pool AND q.priority = w.priority)
    OR EXISTS (SELECT FROM errander.task_pauses t WHERE t.task = w.task)
    OR NOT EXISTS (SELECT FROM live l WHERE l.pool = w.pool AND l.priority = w.priority AND l.task = w.task) AS held,
    w.due < CAST(:bound AS integer) AND w.scheduled < CAST(:bound AS integer) AS exact
FROM waiting w
LEFT JOIN errander.queue_counts c
    ON c.pool = w.pool AND c.priority = w.priority AND c.task = w.task AND c.counted_at > now() - interval '1 minute'
ORDER BY w.pool, w.priority, w.task
