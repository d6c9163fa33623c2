-- Ends one's own term at once, so that another may lead.
-- index: leaders_pkey
UPDATE errander.leaders SET until = now() - interval '1 second'
WHERE name = CAST(:name AS text) AND worker_id = CAST(:worker AS uuid)
