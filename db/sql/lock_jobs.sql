-- Locks jobs before an edge, in a statement of its own: the edge that follows in the same transaction has a snapshot
-- younger than the lock, so it sees the rows of ready that belong to the status it found.
-- locks: jobs, in id order
-- index: jobs_pkey
SELECT j.id, j.status, j.failures, j.task
FROM errander.jobs j
WHERE j.id = ANY (CAST(:ids AS uuid[])) AND j.tenant = :tenant
ORDER BY j.id
FOR NO KEY UPDATE
