-- edge: crash: RUNNING → RETRYING FAILED CANCELLED
-- The child process that ran an attempt died under a living worker: a crash is charged. A cancel request beats a retry
-- and the limit alike, as in a rescue.
-- guard: mine (attempt, worker, status) on the locked row
-- locks: jobs in id order, SKIP LOCKED (what was skipped joins the next flush); then running, ready
-- index: jobs_pkey, running_pkey
WITH input AS MATERIALIZED (
    SELECT *
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:errors AS text[]), CAST(:delays AS float8[]))
        AS t(id, attempt, error, delay)
), locked AS MATERIALIZED (
    SELECT j.id, i.delay, j.started_at, j.cancel_requested_at IS NOT NULL AS cancelled,
           j.cancel_requested_at IS NULL AND j.crashes + 1 >= j.max_crashes AS over,
           jsonb_build_object('attempt', j.attempt, 'at', to_jsonb(now()), 'worker', j.worker_id) || CAST(i.error AS jsonb)
               AS error
    FROM input i
    JOIN errander.jobs j ON j.id = i.id
    WHERE
    -- @include mine
    ORDER BY j.id
    FOR NO KEY UPDATE OF j SKIP LOCKED
), done AS (
    UPDATE errander.jobs j
    SET status = CASE WHEN l.cancelled THEN 'CANCELLED' WHEN l.over THEN 'FAILED' ELSE 'RETRYING' END,
        crashes = j.crashes + 1,
    -- @include errors_with
    -- @include cancelled_by
        finished_at = CASE WHEN l.over OR l.cancelled THEN now() END,
        failed_at = CASE WHEN l.over THEN now() END,
        run_at = CASE WHEN l.over OR l.cancelled THEN j.run_at ELSE now() + make_interval(secs => l.delay) END
    FROM locked l
    WHERE j.id = l.id
    RETURNING l.error,
    -- @include moved_columns
),
-- @include requeue
,
-- @include noted_failure
