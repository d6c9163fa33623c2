-- The fleet by queue. A worker of several priorities counts in each: its slots are shared between them.
-- index: running_worker
SELECT
    w.pool, p.priority, count(*) AS workers, sum(w.slots) AS slots,
    sum(greatest(0, w.slots - (SELECT count(*) FROM errander.running r WHERE r.worker_id = w.id))) AS slots_free
FROM errander.workers w
CROSS JOIN LATERAL unnest(w.priorities) AS p (priority)
WHERE w.dead_at IS NULL AND w.beat_at > now() - CAST(:lease AS double precision) * interval '1 second'
GROUP BY w.pool, p.priority
ORDER BY w.pool, p.priority
