-- Counts the whole queue by pool, priority and task, for those who look at parts that are too long to be counted each time;
-- the share that has failed before is of a sample of about :sample jobs. Writes nothing while less than :bound wait.
-- guard: none; the last count stands
-- locks: queue_counts, by key
-- index: ready_head, jobs_pkey, queue_counts_pkey
WITH enough AS MATERIALIZED (
    SELECT count(*) >= CAST(:bound AS integer) AS so
    FROM (SELECT 1 FROM errander.ready r LIMIT CAST(:bound AS integer)) AS f
),
counted AS MATERIALIZED (
    SELECT
        r.pool, r.priority, r.task,
        count(*) FILTER (WHERE r.run_at <= now()) AS due,
        count(*) FILTER (WHERE r.run_at > now()) AS scheduled
    FROM errander.ready r
    WHERE (SELECT e.so FROM enough e)
    GROUP BY r.pool, r.priority, r.task
),
-- By what the table fills on disk, because statistics of an idle queue know nothing of a full one.
sampled AS MATERIALIZED (
    SELECT r.pool, r.priority, r.task, avg(CASE WHEN j.status = 'RETRYING' THEN 1.0 ELSE 0.0 END) AS retrying
    FROM errander.ready r TABLESAMPLE system (
        least(100, 100.0 * CAST(:sample AS integer) / greatest(1, pg_relation_size('errander.ready') / 100))
    )
    JOIN errander.jobs j ON j.id = r.id
    WHERE (SELECT e.so FROM enough e)
    GROUP BY r.pool, r.priority, r.task
),
gone AS (
    DELETE FROM errander.queue_counts q
    WHERE NOT EXISTS (
        SELECT FROM counted c WHERE c.pool = q.pool AND c.priority = q.priority AND c.task = q.task
    )
),
kept AS (
    INSERT INTO errander.queue_counts (pool, priority, task, due, scheduled, retrying, counted_at)
    SELECT c.pool, c.priority, c.task, c.due, c.scheduled, coalesce(s.retrying, 0), now()
    FROM counted c
    LEFT JOIN sampled s ON s.pool = c.pool AND s.priority = c.priority AND s.task = c.task
    ORDER BY c.pool, c.priority, c.task
    ON CONFLICT (pool, priority, task) DO UPDATE
    SET due = excluded.due, scheduled = excluded.scheduled, retrying = excluded.retrying, counted_at = excluded.counted_at
)
SELECT coalesce(sum(c.due + c.scheduled), 0) AS waiting FROM counted c
