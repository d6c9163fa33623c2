-- cancel of a RUNNING job: a request, which its worker or the reaper carries out; no change of status
-- guard: RUNNING and not asked yet, on the locked row; no fence, because a request concerns whichever attempt runs
-- locks: jobs, in id order, then history
-- index: jobs_pkey
WITH locked AS MATERIALIZED (
    SELECT j.id
    FROM errander.jobs j
    WHERE
        j.id = ANY (CAST(:ids AS uuid[]))
        AND j.tenant = :tenant
        -- Written so that no partial index can serve it: the statistics of an idle queue make one look empty.
        AND j.status || '' IN ('RUNNING')
        AND j.cancel_requested_at IS NULL
    ORDER BY j.id
    FOR NO KEY UPDATE
),
asked AS (
    UPDATE errander.jobs j
    SET cancel_requested_at = now(), cancel_reason = CAST(:reason AS text)
    FROM locked l
    WHERE j.id = l.id AND j.status || '' IN ('RUNNING')
    RETURNING j.id, j.status, j.attempt, j.worker_id
),
noted AS (
    INSERT INTO errander.history (job_id, at, event, status, attempt, worker_id, by, detail)
    SELECT
        a.id, now(), 'cancel-requested', a.status, a.attempt, a.worker_id, 'client',
        jsonb_strip_nulls(jsonb_build_object('reason', CAST(:reason AS text)))
    FROM asked a
    ORDER BY a.id
)
SELECT a.id FROM asked a ORDER BY a.id
