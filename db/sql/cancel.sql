-- edge: cancel: WAITING PENDING RETRYING → CANCELLED
-- guard: status of the locked row; `lock_jobs` ran before in this transaction
-- locks: jobs, in id order, then ready
-- index: jobs_pkey, ready_pkey
WITH locked AS MATERIALIZED (
    SELECT j.id
    FROM errander.jobs j
    WHERE
        j.id = ANY (CAST(:ids AS uuid[]))
        AND j.tenant = :tenant
        -- Written so that no partial index can serve it: the statistics of an idle queue make one look empty.
        AND j.status || '' IN ('WAITING', 'PENDING', 'RETRYING')
    ORDER BY j.id
    FOR NO KEY UPDATE
),
cancelled AS (
    UPDATE errander.jobs j
    SET
        status = 'CANCELLED',
        finished_at = now(),
        cancelled_by = 'client',
        cancel_reason = CAST(:reason AS text)
    FROM locked l
    WHERE j.id = l.id AND j.status || '' IN ('WAITING', 'PENDING', 'RETRYING')
    RETURNING j.id
),
left_queue AS (
    DELETE FROM errander.ready r USING cancelled c WHERE r.id = c.id
)
SELECT c.id FROM cancelled c ORDER BY c.id
