-- edge: fail: RUNNING → RETRYING FAILED CANCELLED
-- A failure is charged. FAILED where the budget is spent or the failure is final, which beats a cancel request; a cancel
-- request beats a retry.
-- guard: mine (attempt, worker, status) on the locked row
-- locks: jobs in id order, SKIP LOCKED (what was skipped joins the next flush); then running, ready
-- index: jobs_pkey, running_pkey
WITH input AS MATERIALIZED (
    SELECT *
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:errors AS text[]), CAST(:delays AS float8[]),
        CAST(:finals AS boolean[])
    ) AS t(id, attempt, error, delay, final)
), locked AS MATERIALIZED (
    SELECT j.id, i.delay, j.started_at, i.final OR j.failures + 1 >= j.max_attempts AS over,
           j.cancel_requested_at IS NOT NULL AND NOT (i.final OR j.failures + 1 >= j.max_attempts) AS cancelled,
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
    SET status = CASE WHEN l.over THEN 'FAILED' WHEN l.cancelled THEN 'CANCELLED' ELSE 'RETRYING' END,
        failures = j.failures + 1,
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
