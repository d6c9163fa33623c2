-- Asks a worker to drain and leave; it reads this with its next beat.
-- index: workers_pkey
UPDATE errander.workers SET drain_requested_at = coalesce(drain_requested_at, now())
WHERE id = CAST(:worker AS uuid) AND dead_at IS NULL
RETURNING id
