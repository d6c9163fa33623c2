-- Exact, by reading every job: for small tables only.
-- index: none; it is asked only where `jobs` is short
SELECT j.status, count(*) AS jobs FROM errander.jobs j WHERE j.tenant = :tenant GROUP BY j.status ORDER BY j.status
