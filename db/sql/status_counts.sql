-- Exact, by reading every job: for small tables only.
SELECT j.status, count(*) AS jobs FROM errander.jobs j WHERE j.tenant = :tenant GROUP BY j.status ORDER BY j.status
