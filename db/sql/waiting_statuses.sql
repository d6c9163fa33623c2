-- Waiting jobs by status, looked at up to :sample of them; `looked` says how many that were. `share` is the part of all
-- waiting jobs that has failed before as the leader last saw it, NULL where it has not looked for a minute.
-- index: jobs_pkey, queue_counts_pkey
WITH looked AS MATERIALIZED (
    SELECT r.id FROM errander.ready r LIMIT CAST(:sample AS integer)
)
SELECT
    count(*) FILTER (WHERE j.status = 'PENDING') AS pending,
    count(*) FILTER (WHERE j.status = 'RETRYING') AS retrying,
    (SELECT count(*) FROM looked) AS looked,
    (
        SELECT CAST(sum(c.retrying * (c.due + c.scheduled)) / nullif(sum(c.due + c.scheduled), 0) AS double precision)
        FROM errander.queue_counts c
        WHERE c.counted_at > now() - interval '1 minute'
    ) AS share
FROM looked l
JOIN errander.jobs j ON j.id = l.id
