-- edge: snooze: RUNNING → PENDING RETRYING CANCELLED
-- The task asked to run later; no budget is spent. A cancel request beats it.
-- guard: mine (attempt, worker, status) on the locked row
-- locks: jobs in id order, SKIP LOCKED (what was skipped joins the next flush); then running, ready
-- index: jobs_pkey, running_pkey
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:delays AS float8[])) AS t(id, attempt, delay)
), locked AS MATERIALIZED (
    SELECT j.id, i.delay, j.started_at, j.cancel_requested_at IS NOT NULL AS cancelled
    FROM input i
    JOIN errander.jobs j ON j.id = i.id
    WHERE
    -- @include mine
    ORDER BY j.id
    FOR NO KEY UPDATE OF j SKIP LOCKED
), done AS (
    UPDATE errander.jobs j
    SET status = CASE WHEN l.cancelled THEN 'CANCELLED' WHEN j.failures + j.crashes > 0 THEN 'RETRYING' ELSE 'PENDING' END,
    -- @include cancelled_by
        finished_at = CASE WHEN l.cancelled THEN now() END,
        run_at = CASE WHEN l.cancelled THEN j.run_at ELSE now() + make_interval(secs => l.delay) END
    FROM locked l
    WHERE j.id = l.id
    RETURNING
    -- @include moved_columns
),
-- @include requeue
, noted AS (
    INSERT INTO errander.history (job_id, event, status, attempt, worker_id, detail, started_at)
    SELECT d.id, 'snoozed', d.status, d.attempt, d.worker_id, jsonb_build_object('run_at', to_jsonb(d.run_at)), d.started_at
    FROM done d ORDER BY d.id
)
SELECT d.id, d.status, d.pool, d.priority, extract(epoch FROM d.run_at - now())::float8 AS due_in FROM done d
