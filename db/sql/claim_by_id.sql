-- edge: claim: PENDING RETRYING → RUNNING
-- Claims what hints named: those of the ids that are claimable now, or fewer where their payloads are large.
-- guard: claimable and status on the locked rows; the worker's own row alive
-- locks: ready and jobs together, SKIP LOCKED: it never waits, so its order does not matter
-- index: ready_pkey, jobs_pkey (the status test is written so that no partial index can serve it)
WITH locked AS MATERIALIZED (
    SELECT r.id, j.payload_bytes AS bytes, r.run_at
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
-- @include fitting
-- @include start
SELECT s.* FROM started s
