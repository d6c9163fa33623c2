-- Seconds until the earliest job that some queues of this worker will owe it; NULL where nothing waits. Reads only.
-- index: ready_head
SELECT min(extract(epoch FROM h.run_at - now()))::float8 AS due_in
FROM unnest(CAST(:priorities AS text[])) AS served(priority)
CROSS JOIN unnest(CAST(:tasks AS text[])) AS mine(task)
CROSS JOIN LATERAL (
    SELECT r.run_at
    FROM errander.ready r
    WHERE r.pool = CAST(:pool AS text) AND r.priority = served.priority AND r.task = mine.task AND r.run_at > now()
    ORDER BY r.run_at, r.id
    LIMIT 1
) h
