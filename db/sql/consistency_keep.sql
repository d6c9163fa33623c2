-- Keeps what a look found under a name, in the place of what an older one found.
-- locks: consistency, one row by its key
-- index: consistency_pkey
INSERT INTO errander.consistency (name, checked_at, seconds, worker_id, clean, counts)
VALUES (
    CAST(:name AS text), now(), CAST(:seconds AS double precision), CAST(:worker AS uuid), CAST(:clean AS boolean),
    CAST(CAST(:counts AS text) AS jsonb)
)
ON CONFLICT (name) DO UPDATE
SET checked_at = excluded.checked_at, seconds = excluded.seconds, worker_id = excluded.worker_id,
    clean = excluded.clean, counts = excluded.counts
