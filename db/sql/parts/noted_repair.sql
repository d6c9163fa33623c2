-- noted_repair: a row of history for each job that was mended and is there
noted AS (
    INSERT INTO errander.history (job_id, at, event, status, attempt, worker_id, by, detail)
    SELECT j.id, now(), 'repaired', j.status, j.attempt, j.worker_id, 'fsck', jsonb_build_object('code', m.code)
    FROM mended m
    CROSS JOIN LATERAL (
        SELECT o.id, o.status, o.attempt, o.worker_id FROM errander.jobs o WHERE o.id = m.id OFFSET 0
    ) j
    ORDER BY j.id
)
SELECT m.code, m.id FROM mended m ORDER BY m.code, m.id
