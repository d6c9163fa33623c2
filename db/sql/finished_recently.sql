-- What ended in the last five minutes, by queue and task, counted over :sample jobs at most.
-- index: jobs_finished
WITH recent AS MATERIALIZED (
    SELECT j.pool, j.priority, j.task, j.status, j.finished_at
    FROM errander.jobs j
    WHERE j.finished_at > now() - interval '5 minutes' AND j.tenant = :tenant
    LIMIT CAST(:sample AS integer)
)
SELECT
    r.pool, r.priority, r.task,
    count(*) FILTER (WHERE r.status = 'SUCCESS') AS succeeded,
    count(*) FILTER (WHERE r.status = 'FAILED') AS failed,
    count(*) FILTER (WHERE r.finished_at > now() - interval '1 minute') AS last_minute
FROM recent r
GROUP BY r.pool, r.priority, r.task
ORDER BY r.pool, r.priority, r.task
