-- Which of these jobs are over. A job that is not there (pruned, never made) is over too: nobody needs to wait for it.
-- index: jobs_pkey
SELECT w.id
FROM unnest(CAST(:ids AS uuid[])) AS w (id)
LEFT JOIN errander.jobs j ON j.id = w.id
WHERE j.id IS NULL OR j.finished_at IS NOT NULL
