-- What runs, by pool, priority and task. As many rows as the fleet has slots.
-- index: jobs_pkey
SELECT r.pool, r.priority, j.task, count(*) AS running
FROM errander.running r
JOIN errander.jobs j ON j.id = r.id
GROUP BY r.pool, r.priority, j.task
ORDER BY r.pool, r.priority, j.task
