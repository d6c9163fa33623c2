-- Those of some jobs that a tenant has, whole.
-- index: jobs_pkey
SELECT
-- @include job_columns
FROM errander.jobs j
WHERE j.id = ANY (CAST(:ids AS uuid[])) AND j.tenant = :tenant
ORDER BY j.id
