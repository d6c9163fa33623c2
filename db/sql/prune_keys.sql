-- Releases idempotency keys whose jobs have all been final (or gone) for the retention; asks again later for the rest.
-- guard: check_after on the locked row
-- locks: idempotency_keys by primary key order, SKIP LOCKED
-- index: idempotency_keys_check, idempotency_keys_pkey, jobs_pkey
WITH late AS MATERIALIZED (
    -- by its own index first: in the order of the locks, a look that finds little would read every key there is
    SELECT k.tenant, k.route, k.key
    FROM errander.idempotency_keys k
    WHERE k.check_after <= now()
    ORDER BY k.check_after
    LIMIT CAST(:n AS int)
), due AS MATERIALIZED (
    SELECT k.tenant, k.route, k.key,
           NOT EXISTS (
               SELECT FROM errander.jobs j
               WHERE j.id = ANY(k.job_ids)
                 AND (j.finished_at IS NULL OR j.finished_at > now() - make_interval(secs => CAST(:seconds AS float8)))
           ) AS over
    FROM late l
    JOIN errander.idempotency_keys k ON k.tenant = l.tenant AND k.route = l.route AND k.key = l.key
    WHERE k.check_after <= now()
    ORDER BY k.tenant, k.route, k.key
    FOR UPDATE OF k SKIP LOCKED
), kept AS (
    UPDATE errander.idempotency_keys k
    -- again after an hour, or after the retention where that is shorter
    SET check_after = now() + least(interval '1 hour', make_interval(secs => greatest(60, CAST(:seconds AS float8))))
    FROM due d
    WHERE NOT d.over AND k.tenant = d.tenant AND k.route = d.route AND k.key = d.key
), released AS (
    DELETE FROM errander.idempotency_keys k USING due d
    WHERE d.over AND k.tenant = d.tenant AND k.route = d.route AND k.key = d.key
    RETURNING 1
)
SELECT (SELECT count(*) FROM due)::int AS seen, (SELECT count(*) FROM released)::int AS released
