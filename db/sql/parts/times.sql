    -- times: seconds from the earliest start to the last one, and from there to the end; NULL for what never started
    CAST(CASE WHEN j.status IN ('SUCCESS', 'FAILED') THEN greatest(0, extract(epoch FROM j.started_at - j.run_at)) END
        AS double precision) AS waited,
    CAST(CASE WHEN j.status IN ('SUCCESS', 'FAILED') THEN greatest(0, extract(epoch FROM j.finished_at - j.started_at)) END
        AS double precision) AS ran
