-- edge: succeed: RUNNING → SUCCESS
-- guard: mine (attempt, worker, status) on the locked row; beats a cancel request
-- locks: jobs in id order, SKIP LOCKED (what was skipped joins the next flush); then running
-- index: jobs_pkey, running_pkey
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:results AS text[])) AS t(id, attempt, result)
), locked AS MATERIALIZED (
    SELECT j.id, i.result
    FROM input i
    JOIN errander.jobs j ON j.id = i.id
    WHERE
    -- @include mine
    ORDER BY j.id
    FOR NO KEY UPDATE OF j SKIP LOCKED
), done AS (
    UPDATE errander.jobs j
    SET status = 'SUCCESS', result = CAST(l.result AS jsonb), finished_at = now()
    FROM locked l
    WHERE j.id = l.id
    RETURNING j.id, j.status
), released AS (
    DELETE FROM errander.running r USING done d WHERE r.id = d.id
)
SELECT d.id, d.status FROM done d
