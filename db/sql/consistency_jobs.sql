-- What a run of jobs breaks of the rules, in the order of their ids after :after. One row a rule, and one without a code:
-- how many jobs were looked at, and the last of them. Reads only.
-- index: jobs_pkey, ready_pkey, running_pkey, idempotency_keys_pkey
WITH looked AS MATERIALIZED (
    SELECT j.id
    FROM errander.jobs j
    WHERE j.id > coalesce(CAST(:after AS uuid), CAST('00000000-0000-0000-0000-000000000000' AS uuid))
    ORDER BY j.id
    LIMIT CAST(:n AS integer)
),
-- @include broken_jobs
