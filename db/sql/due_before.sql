-- How many due jobs of a queue are before a place in it, counted up to :bound: of tasks that a live worker of the queue has
-- and that are not paused. Of all tenants, who share the queue.
-- index: ready_head
WITH live AS MATERIALIZED (
    SELECT DISTINCT t.task
    FROM errander.workers w
    CROSS JOIN LATERAL jsonb_object_keys(w.tasks) AS t (task)
    WHERE
        w.dead_at IS NULL
        AND w.slots > 0
        AND w.beat_at > now() - CAST(:lease AS double precision) * interval '1 second'
        AND w.pool = CAST(:pool AS text)
        AND CAST(:priority AS text) = ANY (w.priorities)
        AND t.task NOT IN (SELECT p.task FROM errander.task_pauses p)
)
SELECT CAST(count(*) AS integer) AS before
FROM (
    SELECT h.id
    FROM live l
    CROSS JOIN LATERAL (
        SELECT r.id
        FROM errander.ready r
        WHERE
            r.pool = CAST(:pool AS text)
            AND r.priority = CAST(:priority AS text)
            AND r.task = l.task
            AND r.run_at <= now()
            AND (r.run_at, r.id) < (CAST(:run_at AS timestamptz), CAST(:id AS uuid))
            AND (r.expires_at IS NULL OR r.expires_at > now())
        ORDER BY r.run_at, r.id
        LIMIT CAST(:bound AS integer)
    ) AS h
    LIMIT CAST(:bound AS integer)
) AS counted
