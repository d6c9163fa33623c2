-- The same for the jobs in which something has just happened: the newest, and those that the newest rows of history
-- name. Reads only.
-- index: jobs_pkey, history_pkey, ready_pkey, running_pkey, idempotency_keys_pkey
WITH looked AS MATERIALIZED (
    (SELECT j.id FROM errander.jobs j ORDER BY j.id DESC LIMIT CAST(:n AS integer))
    UNION
    (
        SELECT h.job_id
        FROM (SELECT o.job_id FROM errander.history o ORDER BY o.id DESC LIMIT CAST(:n AS integer)) h
    )
),
-- @include broken_jobs
