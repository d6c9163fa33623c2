-- Locks jobs of any tenant before a repair, in a statement of its own: what follows in the same transaction has a
-- snapshot younger than the lock, so it judges each job as it stands, and nobody moves it meanwhile.
-- locks: jobs, in id order
-- index: jobs_pkey
SELECT j.id FROM errander.jobs j WHERE j.id = ANY (CAST(:ids AS uuid[])) ORDER BY j.id FOR NO KEY UPDATE
