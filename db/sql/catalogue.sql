-- The catalogue without its schemas: every task and schema ever announced, how many live workers have it, and whether
-- the task is paused.
-- index: tasks_pkey
WITH live AS (
    SELECT t.key AS name, t.value AS schema_hash, count(*) AS workers
    FROM errander.workers w
    CROSS JOIN LATERAL jsonb_each_text(w.tasks) AS t (key, value)
    WHERE w.dead_at IS NULL AND w.beat_at > now() - CAST(:lease AS double precision) * interval '1 second'
    GROUP BY t.key, t.value
)
SELECT
    t.name, t.schema_hash, t.announced_at, CAST(coalesce(l.workers, 0) AS integer) AS live,
    p.at AS paused_at, p.reason AS pause_reason
FROM errander.tasks t
LEFT JOIN live l ON l.name = t.name AND l.schema_hash = t.schema_hash
LEFT JOIN errander.task_pauses p ON p.task = t.name
ORDER BY t.name, t.announced_at DESC, t.schema_hash
