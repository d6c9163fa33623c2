-- A worker process ends by itself, after everything it ran has an outcome: what should still stand under its name is
-- the reaper's at its next tick.
-- index: workers_pkey
UPDATE errander.workers SET dead_at = now(), running = 0 WHERE id = CAST(:worker AS uuid) AND dead_at IS NULL
