-- How much is claimable in each of some queues of a pool, counted up to n: for the weights of a worker that serves
-- several priorities and goes by head. Reads only.
-- index: ready_head
SELECT served.priority, count(c.id)::int AS due
FROM unnest(CAST(:priorities AS text[])) AS served(priority)
LEFT JOIN LATERAL (
    SELECT h.id
    FROM unnest(CAST(:tasks AS text[])) AS mine(task)
    CROSS JOIN LATERAL (
        SELECT r.id
        FROM errander.ready r
        WHERE r.pool = CAST(:pool AS text) AND r.priority = served.priority AND r.task = mine.task
          AND r.run_at <= now() AND (r.expires_at IS NULL OR r.expires_at > now())
        ORDER BY r.run_at, r.id
        LIMIT CAST(:n AS int)
    ) h
    WHERE NOT EXISTS (SELECT FROM errander.task_pauses t WHERE t.task = mine.task)
      AND NOT EXISTS (
          SELECT FROM errander.queue_pauses q WHERE q.pool = CAST(:pool AS text) AND q.priority = served.priority
      )
    LIMIT CAST(:n AS int)
) c ON true
GROUP BY served.priority
