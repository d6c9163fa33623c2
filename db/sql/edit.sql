-- edit: WAITING, PENDING and RETRYING stay what they are; only the fields given change
-- guard: status of the locked row; `lock_jobs` ran before in this transaction
-- locks: jobs, in id order, then ready, history
-- index: jobs_pkey, ready_pkey
WITH locked AS MATERIALIZED (
    SELECT
        j.id, j.priority, j.pool, j.run_at, j.payload, j.max_attempts, j.timeout, j.backoff, j.expires_at, j.tags,
        j.metadata
    FROM errander.jobs j
    WHERE
        j.id = :id
        AND j.tenant = :tenant
        -- Written so that no partial index can serve it: the statistics of an idle queue make one look empty.
        AND j.status || '' IN ('WAITING', 'PENDING', 'RETRYING')
    ORDER BY j.id
    FOR NO KEY UPDATE
),
edited AS (
    UPDATE errander.jobs j
    SET
        priority = coalesce(CAST(:priority AS text), j.priority),
        pool = coalesce(CAST(:pool AS text), j.pool),
        run_at = CASE
            WHEN CAST(:run_at AS timestamptz) IS NULL THEN j.run_at
            ELSE greatest(now(), CAST(:run_at AS timestamptz))
        END,
        payload = coalesce(CAST(:payload AS jsonb), j.payload),
        payload_bytes = coalesce(octet_length(CAST(:payload AS jsonb)::text), j.payload_bytes),
        max_attempts = coalesce(CAST(:max_attempts AS integer), j.max_attempts),
        timeout = coalesce(CAST(:timeout AS double precision), j.timeout),
        backoff = coalesce(CAST(:backoff AS jsonb), j.backoff),
        expires_at = CASE WHEN CAST(:set_expires_at AS boolean) THEN CAST(:expires_at AS timestamptz) ELSE j.expires_at END,
        tags = coalesce(CAST(:tags AS jsonb), j.tags),
        metadata = coalesce(CAST(:metadata AS jsonb), j.metadata)
    FROM locked l
    WHERE j.id = l.id AND j.status || '' IN ('WAITING', 'PENDING', 'RETRYING')
    RETURNING j.id, j.pool, j.priority, j.status, j.attempt, j.worker_id, j.run_at, j.expires_at
),
queue AS (
    UPDATE errander.ready r
    SET pool = e.pool, priority = e.priority, run_at = e.run_at, expires_at = e.expires_at
    FROM edited e
    WHERE r.id = e.id
),
noted AS (
    INSERT INTO errander.history (job_id, at, event, status, attempt, worker_id, by, detail)
    SELECT
        e.id, now(), 'edited', e.status, e.attempt, e.worker_id, 'client',
        jsonb_build_object(
            'before',
            (
                SELECT coalesce(jsonb_object_agg(f.key, f.value), '{}'::jsonb)
                FROM jsonb_each(to_jsonb(l) - 'id') AS f (key, value)
                WHERE f.key = ANY (CAST(:fields AS text[]))
            )
        )
    FROM edited e
    JOIN locked l ON l.id = e.id
)
SELECT
    e.id, e.pool, e.priority,
    CAST(greatest(0, extract(epoch FROM e.run_at - now())) AS double precision) AS due_in
FROM edited e
