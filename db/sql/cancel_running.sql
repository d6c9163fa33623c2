-- edge: cancel_running: RUNNING → CANCELLED
-- The worker's own word that a job's code has ended after a cancel request, or that the task raised Cancel.
-- guard: mine (attempt, worker, status) on the locked row
-- locks: jobs in id order, SKIP LOCKED (what was skipped joins the next flush); then running
-- index: jobs_pkey, running_pkey
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:by AS text[]), CAST(:reasons AS text[]))
        AS t(id, attempt, by, reason)
), locked AS MATERIALIZED (
    SELECT j.id, i.by, i.reason
    FROM input i
    JOIN errander.jobs j ON j.id = i.id
    WHERE
    -- @include mine
    ORDER BY j.id
    FOR NO KEY UPDATE OF j SKIP LOCKED
), done AS (
    UPDATE errander.jobs j
    SET status = 'CANCELLED', finished_at = now(), cancelled_by = coalesce(j.cancelled_by, l.by),
        cancel_reason = coalesce(j.cancel_reason, l.reason)
    FROM locked l
    WHERE j.id = l.id
    RETURNING j.id, j.status
), released AS (
    DELETE FROM errander.running r USING done d WHERE r.id = d.id
)
SELECT d.id, d.status FROM done d
