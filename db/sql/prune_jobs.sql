-- Deletes final jobs older than their retention, with their history, a bounded batch at a time.
-- guard: status and finished_at on the locked row
-- locks: jobs in id order, SKIP LOCKED; then history
-- index: jobs_finished (BRIN), history_job
WITH old AS MATERIALIZED (
    SELECT j.id FROM errander.jobs j
    WHERE j.finished_at < now() - make_interval(secs => CAST(:seconds AS float8)) AND j.status || '' = CAST(:status AS text)
    LIMIT CAST(:n AS int)
), locked AS MATERIALIZED (
    SELECT j.id FROM errander.jobs j
    WHERE j.id IN (SELECT o.id FROM old o)
      AND j.status || '' = CAST(:status AS text)
      AND j.finished_at < now() - make_interval(secs => CAST(:seconds AS float8))
    ORDER BY j.id
    FOR UPDATE OF j SKIP LOCKED
), past AS (
    DELETE FROM errander.history h USING locked l WHERE h.job_id = l.id
)
DELETE FROM errander.jobs j USING locked l WHERE j.id = l.id RETURNING j.id
