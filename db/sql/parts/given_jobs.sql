-- What a client asked for, with the two moments resolved on this clock: a moment in the past means now.
given AS MATERIALIZED (
    SELECT
        g.id, g.tenant, g.task, g.pool, g.priority, g.payload, g.max_attempts, g.max_crashes, g.timeout, g.backoff, g.tags,
        g.metadata, g.idempotency_key, octet_length(g.payload::text) AS payload_bytes,
        greatest(now(), coalesce(g.run_at, now() + g.delay * interval '1 second')) AS run_at,
        coalesce(g.expires_at, now() + g.expires_in * interval '1 second') AS expires_at
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:tenants AS text[]), CAST(:tasks AS text[]), CAST(:pools AS text[]),
        CAST(:priorities AS text[]), CAST(:payloads AS jsonb[]), CAST(:max_attempts AS integer[]),
        CAST(:max_crashes AS integer[]), CAST(:timeouts AS double precision[]), CAST(:backoffs AS jsonb[]),
        CAST(:tags AS jsonb[]), CAST(:metadatas AS jsonb[]), CAST(:idempotency_keys AS text[]),
        CAST(:run_ats AS timestamptz[]), CAST(:delays AS double precision[]), CAST(:expires_ats AS timestamptz[]),
        CAST(:expires_ins AS double precision[])
    ) AS g (
        id, tenant, task, pool, priority, payload, max_attempts, max_crashes, timeout, backoff, tags, metadata,
        idempotency_key, run_at, delay, expires_at, expires_in
    )
)
