-- What became of ids that were asked for and not won. Starts nothing, locks nothing.
-- `claimable` true means that another transaction held the row: try again in a moment.
-- index: jobs_pkey, ready_pkey
SELECT j.id, j.status, j.attempt, j.worker_id, r.id IS NOT NULL AS waits, j.task, j.pool = CAST(:pool AS text) AS mine,
       extract(epoch FROM r.run_at - now())::float8 AS due_in,
       j.task = ANY(CAST(:tasks AS text[])) AS served,
       EXISTS (
           SELECT FROM errander.workers w
           WHERE w.pool = j.pool AND w.dead_at IS NULL AND w.tasks ? j.task AND j.priority = ANY(w.priorities)
             AND w.beat_at > now() - make_interval(secs => CAST(:lease AS float8))
       ) AS served_elsewhere,
       (
    -- @include claimable
       ) AS claimable,
    -- @include alive
       AS alive
FROM errander.jobs j
LEFT JOIN errander.ready r ON r.id = j.id
WHERE j.id = ANY(CAST(:ids AS uuid[]))
