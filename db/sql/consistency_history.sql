-- Rows of history that name no job, or a start that their job has not had, from the row before :before back. Found are
-- jobs, not rows. One row a rule, and one without a code: how many rows were looked at, and the last of them. Reads only.
-- index: history_pkey, jobs_pkey
WITH looked AS MATERIALIZED (
    SELECT h.id, h.job_id, h.attempt
    FROM errander.history h
    WHERE h.id < coalesce(CAST(:before AS bigint), 9223372036854775807)
    ORDER BY h.id DESC
    LIMIT CAST(:n AS integer)
),
named AS MATERIALIZED (
    SELECT l.job_id, max(l.attempt) AS attempt FROM looked l GROUP BY l.job_id
),
broken AS MATERIALIZED (
    SELECT CASE WHEN j.id IS NULL THEN 'history-orphaned' ELSE 'history-ahead' END AS code, n.job_id AS id
    FROM named n
    LEFT JOIN LATERAL (SELECT o.id, o.attempt FROM errander.jobs o WHERE o.id = n.job_id OFFSET 0) j ON true
    WHERE j.id IS NULL OR n.attempt > j.attempt
)
SELECT
    b.code, CAST(count(*) AS integer) AS found,
    (array_agg(CAST(b.id AS text) ORDER BY b.id))[1:CAST(:most AS integer)] AS examples, CAST(NULL AS text) AS last
FROM broken b
GROUP BY b.code
UNION ALL
SELECT
    NULL, CAST((SELECT count(*) FROM looked) AS integer), NULL,
    (SELECT CAST(l.id AS text) FROM looked l ORDER BY l.id LIMIT 1)
