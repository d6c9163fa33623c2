-- noted_failure: a failure in the history, and the answer of its edge
noted AS (
    INSERT INTO errander.history (job_id, event, status, attempt, worker_id, detail, started_at)
    SELECT d.id, 'failed', d.status, d.attempt, d.worker_id,
           jsonb_build_object('kind', d.error -> 'kind', 'type', d.error -> 'type', 'message', d.error -> 'message',
                              'run_at', CASE WHEN d.status = 'RETRYING' THEN to_jsonb(d.run_at) END),
           d.started_at
    FROM done d ORDER BY d.id
)
SELECT d.id, d.status, d.pool, d.priority, extract(epoch FROM d.run_at - now())::float8 AS due_in FROM done d
