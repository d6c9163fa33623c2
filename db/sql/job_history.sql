-- What a job's columns do not say, oldest first.
-- index: history_job
SELECT h.at, h.event, h.status, h.attempt, h.worker_id, h.by, h.detail, h.started_at
FROM errander.history h
WHERE h.job_id = :id
ORDER BY h.job_id, h.id
