-- The live workers that have a task, and how many of their slots are taken.
-- index: running_worker
SELECT
    w.pool, w.priorities, w.slots, w.drain_requested_at IS NOT NULL AS drains,
    CAST((SELECT count(*) FROM errander.running r WHERE r.worker_id = w.id) AS integer) AS running
FROM errander.workers w
WHERE
    w.dead_at IS NULL
    AND w.slots > 0
    AND w.beat_at > now() - CAST(:lease AS double precision) * interval '1 second'
    AND jsonb_exists(w.tasks, CAST(:task AS text))
ORDER BY w.pool, w.started_at, w.id
