-- run-now: PENDING and RETRYING stay what they are; run_at becomes now, or stays where it is already due
-- guard: status of the locked row; `lock_jobs` ran before in this transaction
-- locks: jobs, in id order, then ready, history
-- index: jobs_pkey, ready_pkey
WITH locked AS MATERIALIZED (
    SELECT j.id, j.run_at
    FROM errander.jobs j
    WHERE
        j.id = ANY (CAST(:ids AS uuid[]))
        AND j.tenant = :tenant
        -- Written so that no partial index can serve it: the statistics of an idle queue make one look empty.
        AND j.status || '' IN ('PENDING', 'RETRYING')
    ORDER BY j.id
    FOR NO KEY UPDATE
),
moved AS (
    UPDATE errander.jobs j
    SET run_at = least(j.run_at, now())
    FROM locked l
    WHERE j.id = l.id AND j.status || '' IN ('PENDING', 'RETRYING')
    RETURNING j.id, j.pool, j.priority, j.status, j.attempt, j.worker_id, j.run_at, l.run_at AS run_at_before
),
queue AS (
    UPDATE errander.ready r SET run_at = m.run_at FROM moved m WHERE r.id = m.id
),
noted AS (
    INSERT INTO errander.history (job_id, at, event, status, attempt, worker_id, by, detail)
    SELECT
        m.id, now(), 'edited', m.status, m.attempt, m.worker_id, 'client',
        jsonb_build_object('before', jsonb_build_object('run_at', m.run_at_before))
    FROM moved m
    WHERE m.run_at <> m.run_at_before
    ORDER BY m.id
)
SELECT m.id, m.pool, m.priority, CAST(0 AS double precision) AS due_in FROM moved m ORDER BY m.id
