-- edge: claim: PENDING RETRYING → RUNNING
-- Claims the head of what is due in one queue, without any hint: up to 4n candidates are read without a lock, per task
-- from the index and merged, and locked one by one in that order until n are won. `seen` counts the candidates, so that
-- the caller can tell a full head (seen >= n) from a short one.
-- guard: claimable and status on the locked rows; the worker's own row alive
-- locks: ready and jobs together, SKIP LOCKED: it never waits, so its order does not matter
-- index: ready_head for the candidates; ready_pkey and jobs_pkey for the locks
WITH candidates AS MATERIALIZED (
    SELECT c.id, c.run_at
    FROM unnest(CAST(:tasks AS text[])) AS served(task)
    CROSS JOIN LATERAL (
        SELECT r.id, r.run_at
        FROM errander.ready r
        WHERE r.pool = CAST(:pool AS text) AND r.priority = CAST(:priority AS text) AND r.task = served.task
          AND r.run_at <= now() AND (r.expires_at IS NULL OR r.expires_at > now())
        ORDER BY r.run_at, r.id
        LIMIT 4 * CAST(:n AS int)
    ) c
    WHERE NOT EXISTS (SELECT FROM errander.task_pauses t WHERE t.task = served.task)
      AND NOT EXISTS (
          SELECT FROM errander.queue_pauses q
          WHERE q.pool = CAST(:pool AS text) AND q.priority = CAST(:priority AS text)
      )
    ORDER BY c.run_at, c.id
    LIMIT 4 * CAST(:n AS int)
),
picked AS MATERIALIZED (
    SELECT won.id
    FROM candidates c
    CROSS JOIN LATERAL (
        SELECT r.id
        FROM errander.ready r
        JOIN errander.jobs j ON j.id = r.id
        WHERE r.id = c.id
          AND j.status || '' IN ('PENDING', 'RETRYING')
          AND
    -- @include claimable
        FOR NO KEY UPDATE OF r, j SKIP LOCKED
    ) won
    WHERE
    -- @include alive
    LIMIT CAST(:n AS int)
),
-- @include start
SELECT s.*, (SELECT count(*) FROM candidates) AS seen FROM started s
UNION ALL
-- one row in any case, so that a head of which nothing was won is still told from an empty one
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       (SELECT count(*) FROM candidates)
