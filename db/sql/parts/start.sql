-- start: what every claim does with the rows it picked
unqueued AS (
    DELETE FROM errander.ready r USING picked p WHERE r.id = p.id
), started AS (
    UPDATE errander.jobs j
    SET status = 'RUNNING', attempt = j.attempt + 1, worker_id = CAST(:worker AS uuid), started_at = now(),
        cancel_requested_at = NULL, progress = NULL
    FROM picked p
    WHERE j.id = p.id
    RETURNING j.id, j.attempt, j.task, j.payload, j.pool, j.priority, j.tenant, j.failures, j.crashes, j.max_attempts,
              j.max_crashes, j.timeout, j.backoff, j.idempotency_key, j.tags, j.metadata, j.run_at, j.created_at
), leased AS (
    INSERT INTO errander.running (id, attempt, worker_id, pool, priority)
    SELECT s.id, s.attempt, CAST(:worker AS uuid), s.pool, s.priority FROM started s
)
