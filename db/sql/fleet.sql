-- How many workers are live, and who leads.
-- index: none; `workers` is short
SELECT
    (
        SELECT CAST(count(*) AS integer)
        FROM errander.workers w
        WHERE w.dead_at IS NULL AND w.beat_at > now() - CAST(:lease AS double precision) * interval '1 second'
    ) AS workers,
    (SELECT l.worker_id FROM errander.leaders l WHERE l.until > now() ORDER BY l.until DESC LIMIT 1) AS leader
