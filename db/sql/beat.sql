-- The heartbeat. No row: the lease is lost, and the process must end itself.
-- guard: not declared dead, on the locked row
-- index: workers_pkey
UPDATE errander.workers
SET beat_at = now(), running = CAST(:running AS int), slots = CAST(:slots AS int)
WHERE id = CAST(:worker AS uuid) AND dead_at IS NULL
RETURNING drain_requested_at IS NOT NULL AS drain
