-- The earliest jobs of each queue that fall due within the horizon, at most n a queue: for the horizon loop. Reads only.
-- index: ready_head (the catalogue names the tasks)
SELECT h.id, h.pool, h.priority, extract(epoch FROM h.run_at - now())::float8 AS due_in
FROM (SELECT DISTINCT w.pool, p.priority FROM errander.workers w CROSS JOIN unnest(w.priorities) AS p(priority)
      WHERE w.dead_at IS NULL) q
CROSS JOIN LATERAL (
    SELECT r.id, r.pool, r.priority, r.run_at
    FROM (SELECT DISTINCT t.name FROM errander.tasks t) known
    CROSS JOIN LATERAL (
        SELECT n.id, n.pool, n.priority, n.run_at
        FROM errander.ready n
        WHERE n.pool = q.pool AND n.priority = q.priority AND n.task = known.name
          AND n.run_at > now() AND n.run_at <= now() + make_interval(secs => CAST(:horizon AS float8))
        ORDER BY n.run_at, n.id
        LIMIT CAST(:n AS int)
    ) r
    ORDER BY r.run_at, r.id
    LIMIT CAST(:n AS int)
) h
