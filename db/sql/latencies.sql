-- Seconds that jobs which ended in the last five minutes waited before their last start, and ran; over :sample of them.
-- index: jobs_finished
SELECT
    percentile_cont(0.5) WITHIN GROUP (ORDER BY r.waited) AS wait_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY r.waited) AS wait_p95,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ran) AS run_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY r.ran) AS run_p95
FROM (
    SELECT
        CAST(greatest(0, extract(epoch FROM j.started_at - j.run_at)) AS double precision) AS waited,
        CAST(greatest(0, extract(epoch FROM j.finished_at - j.started_at)) AS double precision) AS ran
    FROM errander.jobs j
    WHERE
        j.finished_at > now() - interval '5 minutes'
        AND j.tenant = :tenant
        AND j.status IN ('SUCCESS', 'FAILED')
        AND j.started_at IS NOT NULL
    LIMIT CAST(:sample AS integer)
) AS r
