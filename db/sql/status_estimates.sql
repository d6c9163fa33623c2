-- For large tables: what waits, runs and has failed is counted in its own small table or index; the rest is the planner's
-- estimate of the table, shared out by the frequencies of the last ANALYZE.
-- index: jobs_failed, running_pkey, ready_pkey
WITH analysed AS (
    SELECT v.status, v.share
    FROM pg_catalog.pg_stats s
    CROSS JOIN LATERAL unnest(CAST(CAST(s.most_common_vals AS text) AS text[]), s.most_common_freqs) AS v (status, share)
    WHERE
        s.schemaname = (
            SELECT n.nspname
            FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = CAST('errander.jobs' AS regclass)
        )
        AND s.tablename = 'jobs'
        AND s.attname = 'status'
)
SELECT
    CAST(greatest(0, (SELECT c.reltuples FROM pg_catalog.pg_class c WHERE c.oid = CAST('errander.jobs' AS regclass))) AS bigint)
        AS jobs,
    (SELECT count(*) FROM errander.ready) AS ready,
    (SELECT count(*) FROM errander.running) AS running,
    (SELECT count(*) FROM errander.jobs j WHERE j.tenant = :tenant AND j.failed_at IS NOT NULL) AS failed,
    (SELECT coalesce(jsonb_object_agg(a.status, a.share), '{}'::jsonb) FROM analysed a) AS shares
