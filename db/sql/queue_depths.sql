-- The queue by pool, priority and task: due, due later, the oldest due, and whether anything may start them.
-- index: ready_head (an index-only scan where the table is clean)
WITH live AS (
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
    SELECT
        r.pool, r.priority, r.task,
        count(*) FILTER (WHERE r.run_at <= now() AND (r.expires_at IS NULL OR r.expires_at > now())) AS due,
        count(*) FILTER (WHERE r.run_at > now()) AS scheduled,
        min(r.run_at) FILTER (WHERE r.run_at <= now() AND (r.expires_at IS NULL OR r.expires_at > now())) AS oldest
    FROM errander.ready r
    GROUP BY r.pool, r.priority, r.task
)
SELECT
    w.pool, w.priority, w.task, w.due, w.scheduled,
    CAST(extract(epoch FROM now() - w.oldest) AS double precision) AS oldest_seconds,
    EXISTS (SELECT FROM errander.queue_pauses q WHERE q.pool = w.pool AND q.priority = w.priority)
    OR EXISTS (SELECT FROM errander.task_pauses t WHERE t.task = w.task)
    OR NOT EXISTS (SELECT FROM live l WHERE l.pool = w.pool AND l.priority = w.priority AND l.task = w.task) AS held
FROM waiting w
ORDER BY w.pool, w.priority, w.task
