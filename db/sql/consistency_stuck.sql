-- Jobs that have been due for :seconds seconds and are next in a queue, although a live worker with a free slot serves them:
-- for each such worker and priority the earliest of all its tasks, which its next claim must win. Reads only.
-- index: ready_head, running_worker
WITH free AS MATERIALIZED (
    SELECT w.id, w.pool, w.priorities, w.tasks
    FROM errander.workers w
    WHERE
        w.dead_at IS NULL AND w.drain_requested_at IS NULL
        AND w.beat_at > now() - make_interval(secs => CAST(:lease AS double precision) / 2)
        AND w.slots > (SELECT count(*) FROM errander.running u WHERE u.worker_id = w.id)
),
served AS MATERIALIZED (
    SELECT f.id AS worker, f.pool, p.priority, t.task
    FROM free f
    CROSS JOIN LATERAL unnest(f.priorities) AS p (priority)
    CROSS JOIN LATERAL jsonb_object_keys(f.tasks) AS t (task)
    WHERE
        t.task NOT IN (SELECT o.task FROM errander.task_pauses o)
        AND (f.pool, p.priority) NOT IN (SELECT q.pool, q.priority FROM errander.queue_pauses q)
),
heads AS MATERIALIZED (
    SELECT g.pool, g.priority, g.task, h.id, h.run_at
    FROM (SELECT DISTINCT s.pool, s.priority, s.task FROM served s) g
    CROSS JOIN LATERAL (
        SELECT r.id, r.run_at
        FROM errander.ready r
        WHERE
            r.pool = g.pool AND r.priority = g.priority AND r.task = g.task
            AND r.run_at <= now() - make_interval(secs => CAST(:seconds AS double precision))
            AND (r.expires_at IS NULL OR r.expires_at > now())
        ORDER BY r.run_at, r.id
        LIMIT 1
    ) h
),
stuck AS MATERIALIZED (
    SELECT DISTINCT e.id
    FROM (
        SELECT DISTINCT ON (s.worker, s.priority) h.id
        FROM served s
        JOIN heads h ON h.pool = s.pool AND h.priority = s.priority AND h.task = s.task
        ORDER BY s.worker, s.priority, h.run_at, h.id
    ) e
)
SELECT
    'job-stuck' AS code, CAST(count(*) AS integer) AS found,
    (array_agg(CAST(k.id AS text) ORDER BY k.id))[1:CAST(:most AS integer)] AS examples, CAST(NULL AS text) AS last
FROM stuck k
HAVING count(*) > 0
