-- edge: expire: WAITING PENDING RETRYING → CANCELLED
-- Ends waiting jobs whose time to start has passed. Bounded; repeated until it takes none.
-- guard: status and expires_at on the locked row; the row of the queue is locked too, so that one which a retry has put
--        there since this statement began is not left behind
-- locks: jobs in id order and ready with them, SKIP LOCKED
-- index: ready_expiry, ready_pkey, jobs_pkey
WITH locked AS MATERIALIZED (
    SELECT j.id
    FROM (
        SELECT r.id FROM errander.ready r
        WHERE r.expires_at <= now() AND r.expires_at IS NOT NULL
        ORDER BY r.expires_at LIMIT CAST(:n AS int)
    ) late
    JOIN errander.jobs j ON j.id = late.id
    JOIN errander.ready r ON r.id = late.id
    WHERE j.expires_at <= now() AND j.status || '' IN ('WAITING', 'PENDING', 'RETRYING')
    ORDER BY j.id
    FOR NO KEY UPDATE OF j, r SKIP LOCKED
), done AS (
    UPDATE errander.jobs j
    SET status = 'CANCELLED', finished_at = now(), cancelled_by = 'expired',
        cancel_reason = 'it had not started when it expired'
    FROM locked l
    WHERE j.id = l.id
    RETURNING j.id, j.status
), unqueued AS (
    DELETE FROM errander.ready r USING done d WHERE r.id = d.id
)
SELECT d.id, d.status FROM done d
