-- How many jobs there are, counted to :limit at most.
-- index: jobs_newest
SELECT count(*) AS jobs
FROM (SELECT 1 FROM errander.jobs j WHERE j.tenant = :tenant ORDER BY j.id DESC LIMIT CAST(:limit AS integer)) AS newest
