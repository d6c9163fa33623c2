-- Submits of the last five minutes by queue, counted over the newest :sample jobs at most; `oldest_seconds` is how far
-- back those reach, so that a rate is right where they do not reach back far enough. Of all tenants.
-- index: jobs_pkey
WITH newest AS MATERIALIZED (
    SELECT j.pool, j.priority, CAST(extract(epoch FROM now() - j.created_at) AS double precision) AS age
    FROM errander.jobs j
    ORDER BY j.id DESC
    LIMIT CAST(:sample AS integer)
)
SELECT
    n.pool, n.priority,
    count(*) FILTER (WHERE n.age <= 60) AS last_minute,
    count(*) FILTER (WHERE n.age <= 300) AS last_5_minutes,
    (SELECT count(*) FROM newest) AS looked_at,
    (SELECT max(f.age) FROM newest f) AS oldest_seconds
FROM newest n
GROUP BY n.pool, n.priority
ORDER BY n.pool, n.priority
