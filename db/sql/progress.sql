-- The newest progress of some running attempts.
-- guard: mine (attempt, worker, status) on the locked row
-- locks: jobs in id order, SKIP LOCKED (newer progress follows)
-- index: jobs_pkey
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:progress AS text[])) AS t(id, attempt, progress)
), locked AS MATERIALIZED (
    SELECT j.id, i.progress
    FROM input i
    JOIN errander.jobs j ON j.id = i.id
    WHERE
    -- @include mine
    ORDER BY j.id
    FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE errander.jobs j
SET progress = CAST(l.progress AS jsonb) || jsonb_build_object('at', to_jsonb(now()))
FROM locked l
WHERE j.id = l.id
