-- edge: claim: PENDING RETRYING → RUNNING
-- Claims what hints named: those of the ids that are claimable now.
-- guard: claimable and status on the locked rows; the worker's own row alive
-- locks: ready and jobs together, SKIP LOCKED: it never waits, so its order does not matter
-- index: ready_pkey, jobs_pkey (the status test is written so that no partial index can serve it)
WITH picked AS MATERIALIZED (
    SELECT r.id
    FROM errander.ready r
    JOIN errander.jobs j ON j.id = r.id
    WHERE r.id = ANY(CAST(:ids AS uuid[]))
      AND j.status || '' IN ('PENDING', 'RETRYING')
      AND
    -- @include alive
      AND
    -- @include claimable
    FOR NO KEY UPDATE OF r, j SKIP LOCKED
),
-- @include start
SELECT s.* FROM started s
