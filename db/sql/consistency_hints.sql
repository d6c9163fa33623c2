-- How the jobs that some hints name stand, and in which queue a hint of each belongs. An id without a row is no job's.
-- index: jobs_pkey
SELECT j.id, j.pool, j.priority, j.finished_at IS NOT NULL AS final
FROM errander.jobs j
WHERE j.id = ANY (CAST(:ids AS uuid[]))
