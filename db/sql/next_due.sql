-- Seconds until the earliest job that some queues of this worker will owe it; NULL where nothing waits. Reads only.
-- Looks a moment back too: what fell due between a claim that came up short and this question is owed already.
-- index: ready_head
SELECT min(extract(epoch FROM h.run_at - now()))::float8 AS due_in
FROM unnest(CAST(:priorities AS text[])) AS served(priority)
CROSS JOIN unnest(CAST(:tasks AS text[])) AS mine(task)
CROSS JOIN LATERAL (
    SELECT r.run_at
    FROM errander.ready r
    WHERE r.pool = CAST(:pool AS text) AND r.priority = served.priority AND r.task = mine.task
      AND r.run_at > now() - interval '50 milliseconds' AND (r.expires_at IS NULL OR r.expires_at > now())
    ORDER BY r.run_at, r.id
    LIMIT 1
) h
WHERE mine.task NOT IN (SELECT t.task FROM errander.task_pauses t)
  AND (CAST(:pool AS text), served.priority) NOT IN (SELECT q.pool, q.priority FROM errander.queue_pauses q)
