-- Idempotency keys of a batch, won one by one.
-- guard: a key that is held is left alone and not returned; waiting for one that is being inserted ends with the
--        lock timeout of the transaction
-- locks: idempotency_keys in (route, key) order
-- index: idempotency_keys_pkey
WITH given AS MATERIALIZED (
    SELECT
        g.route, g.key, g.content, g.job_ids,
        greatest(now(), coalesce(g.run_at, now() + g.delay * interval '1 second')) AS run_at,
        coalesce(g.expires_at, now() + g.expires_in * interval '1 second') AS expires_at
    FROM unnest(
        CAST(:routes AS text[]), CAST(:keys AS text[]), CAST(:contents AS jsonb[]), CAST(:job_ids AS jsonb[]),
        CAST(:run_ats AS timestamptz[]), CAST(:delays AS double precision[]), CAST(:expires_ats AS timestamptz[]),
        CAST(:expires_ins AS double precision[])
    ) AS g (route, key, content, job_ids, run_at, delay, expires_at, expires_in)
)
INSERT INTO errander.idempotency_keys (tenant, route, key, content, job_ids, check_after)
SELECT
    CAST(:tenant AS text), g.route, g.key,
    g.content || jsonb_build_object('@run_at', g.run_at, '@expires_at', g.expires_at),
    -- Arrays of arrays must be rectangular in PostgreSQL, so the ids of a key travel as JSON.
    ARRAY(
        SELECT CAST(e.value AS uuid)
        FROM jsonb_array_elements_text(g.job_ids) WITH ORDINALITY AS e (value, n)
        ORDER BY e.n
    ),
    g.run_at + CAST(:hours AS double precision) * interval '1 hour'
FROM given g
ORDER BY g.route, g.key
ON CONFLICT (tenant, route, key) DO NOTHING
RETURNING route, key
