-- Deletes the rows of workers that died long ago and under which nothing runs.
-- locks: workers in id order, SKIP LOCKED
-- index: workers_pkey or none, running_worker
WITH old AS MATERIALIZED (
    SELECT w.id FROM errander.workers w
    WHERE w.dead_at < now() - make_interval(secs => CAST(:seconds AS float8))
      AND NOT EXISTS (SELECT FROM errander.running r WHERE r.worker_id = w.id)
    ORDER BY w.id
    LIMIT CAST(:n AS int)
    FOR UPDATE OF w SKIP LOCKED
)
DELETE FROM errander.workers w USING old o WHERE w.id = o.id RETURNING w.id
