-- edge: give_back: RUNNING → PENDING RETRYING FAILED CANCELLED
-- A drain, a roll call, a retiring process or a worker whose signature does not fit returns the job; no budget is
-- spent. A job that must never run twice (max_crashes 1) and whose code had begun ends FAILED instead. A cancel request
-- beats both.
-- guard: mine (attempt, worker, status) on the locked row
-- locks: jobs in id order, SKIP LOCKED (what was skipped joins the next flush); then running, ready
-- index: jobs_pkey, running_pkey
WITH input AS MATERIALIZED (
    SELECT *
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:begun AS boolean[]), CAST(:delays AS float8[]),
        CAST(:reasons AS text[])
    ) AS t(id, attempt, begun, delay, reason)
), locked AS MATERIALIZED (
    SELECT j.id, i.delay, i.reason, j.started_at, j.cancel_requested_at IS NOT NULL AS cancelled,
           j.cancel_requested_at IS NULL AND i.begun AND j.max_crashes = 1 AS over,
           jsonb_build_object(
               'attempt', j.attempt, 'at', to_jsonb(now()), 'worker', j.worker_id, 'kind', 'lost', 'type', 'GivenBack',
               'message', 'its worker stopped before it ended, and it may not run twice (max_crashes 1)', 'traceback', NULL
           ) AS error
    FROM input i
    JOIN errander.jobs j ON j.id = i.id
    WHERE
    -- @include mine
    ORDER BY j.id
    FOR NO KEY UPDATE OF j SKIP LOCKED
), done AS (
    UPDATE errander.jobs j
    SET status = CASE WHEN l.cancelled THEN 'CANCELLED' WHEN l.over THEN 'FAILED'
                      WHEN j.failures + j.crashes > 0 THEN 'RETRYING' ELSE 'PENDING' END,
        errors = CASE WHEN NOT l.over THEN j.errors
                      WHEN jsonb_array_length(j.errors) >= 20 THEN (j.errors - 0) || l.error ELSE j.errors || l.error END,
        crashes = j.crashes + l.over::int,
    -- @include cancelled_by
        finished_at = CASE WHEN l.over OR l.cancelled THEN now() END,
        failed_at = CASE WHEN l.over THEN now() END,
        run_at = CASE WHEN l.over OR l.cancelled THEN j.run_at
                      ELSE greatest(j.run_at, now() + make_interval(secs => l.delay)) END
    FROM locked l
    WHERE j.id = l.id
    RETURNING l.reason,
    -- @include moved_columns
),
-- @include requeue
, noted AS (
    INSERT INTO errander.history (job_id, event, status, attempt, worker_id, detail, started_at)
    SELECT d.id, 'given-back', d.status, d.attempt, d.worker_id, jsonb_build_object('reason', d.reason), d.started_at
    FROM done d ORDER BY d.id
)
SELECT d.id, d.status, d.pool, d.priority, extract(epoch FROM d.run_at - now())::float8 AS due_in FROM done d
