-- Asks a worker to drain and leave; it reads this with its next beat. `new`: nobody had asked before.
-- index: workers_pkey
UPDATE errander.workers w SET drain_requested_at = coalesce(w.drain_requested_at, now())
FROM (
    SELECT f.id, f.drain_requested_at FROM errander.workers f WHERE f.id = CAST(:worker AS uuid) FOR UPDATE
) AS found
WHERE w.id = found.id AND w.dead_at IS NULL
RETURNING found.drain_requested_at IS NULL AS new
