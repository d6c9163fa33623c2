-- What PostgreSQL says this worker runs, and which of it is asked to be cancelled.
-- index: running_worker, jobs_pkey
SELECT r.id, r.attempt, j.cancel_requested_at IS NOT NULL AS cancel
FROM errander.running r
JOIN errander.jobs j ON j.id = r.id
WHERE r.worker_id = CAST(:worker AS uuid)
