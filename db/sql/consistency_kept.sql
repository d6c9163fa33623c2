-- What the last look under a name found.
-- index: consistency_pkey
SELECT c.checked_at, c.seconds, c.worker_id, c.clean, c.counts FROM errander.consistency c WHERE c.name = CAST(:name AS text)
