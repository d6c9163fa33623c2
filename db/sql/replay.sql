-- edge: replay: FAILED CANCELLED → PENDING
-- guard: status of the locked row; `lock_jobs` ran before in this transaction
-- locks: jobs, in id order, then ready, history
-- index: jobs_pkey
WITH locked AS MATERIALIZED (
    SELECT j.id, j.status, j.finished_at, j.cancelled_by, j.cancel_reason, j.started_at, j.payload, j.max_attempts
    FROM errander.jobs j
    WHERE
        j.id = ANY (CAST(:ids AS uuid[]))
        AND j.tenant = :tenant
        -- Written so that no partial index can serve it: the statistics of an idle queue make one look empty.
        AND j.status || '' IN ('FAILED', 'CANCELLED')
    ORDER BY j.id
    FOR NO KEY UPDATE
),
replayed AS (
    UPDATE errander.jobs j
    SET
        status = 'PENDING',
        failures = 0,
        crashes = 0,
        replays = j.replays + 1,
        run_at = now() + CAST(:delay AS double precision) * interval '1 second',
        payload = coalesce(CAST(:payload AS jsonb), j.payload),
        payload_bytes = coalesce(octet_length(CAST(:payload AS jsonb)::text), j.payload_bytes),
        max_attempts = coalesce(CAST(:max_attempts AS integer), j.max_attempts),
        result = NULL,
        progress = NULL,
        finished_at = NULL,
        failed_at = NULL,
        expires_at = NULL,
        cancel_requested_at = NULL,
        cancelled_by = NULL,
        cancel_reason = NULL
    FROM locked l
    WHERE j.id = l.id AND j.status || '' IN ('FAILED', 'CANCELLED')
    RETURNING
        j.id, j.tenant, j.pool, j.priority, j.task, j.run_at, j.attempt, j.worker_id,
        l.status AS undone, l.finished_at AS undone_at, l.cancelled_by AS undone_by, l.cancel_reason AS undone_for,
        l.started_at,
        CASE
            WHEN CAST(:payload AS jsonb) IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('payload', l.payload)
        END
        || CASE
            WHEN CAST(:max_attempts AS integer) IS NULL THEN '{}'::jsonb
            ELSE jsonb_build_object('max_attempts', l.max_attempts)
        END AS before
),
queued AS (
    INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at)
    SELECT r.id, r.tenant, r.pool, r.priority, r.task, r.run_at FROM replayed r ORDER BY r.id
),
noted AS (
    INSERT INTO errander.history (job_id, at, event, status, attempt, worker_id, by, detail, started_at)
    SELECT
        r.id, now(), 'replayed', 'PENDING', r.attempt, r.worker_id, 'client',
        -- what the row says no more, so that the history still can
        jsonb_strip_nulls(
            jsonb_build_object(
                'status', r.undone, 'finished_at', r.undone_at, 'cancelled_by', r.undone_by, 'cancel_reason', r.undone_for,
                'reason', CAST(:reason AS text)
            )
        )
        || CASE WHEN r.before = '{}'::jsonb THEN '{}'::jsonb ELSE jsonb_build_object('before', r.before) END,
        r.started_at
    FROM replayed r
    ORDER BY r.id
)
SELECT
    r.id, r.pool, r.priority, CAST(extract(epoch FROM r.run_at - now()) AS double precision) AS due_in
FROM replayed r
ORDER BY r.id
