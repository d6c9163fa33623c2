-- edge: claim: PENDING RETRYING → RUNNING
-- Claims the head of what is due in one queue, without any hint: up to 4n candidates (n and 400) are read without a lock,
-- per task from the index and merged, and locked one by one in that order until n are won, or fewer where their payloads
-- are large. `seen` counts the candidates, so that the caller can tell a full head (seen >= n) from a short one; a head
-- that was left for its payloads is full too.
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
        LIMIT CAST(:n AS int) + least(3 * CAST(:n AS int), 400)
    ) c
    WHERE NOT EXISTS (SELECT FROM errander.task_pauses t WHERE t.task = served.task)
      AND NOT EXISTS (
          SELECT FROM errander.queue_pauses q
          WHERE q.pool = CAST(:pool AS text) AND q.priority = CAST(:priority AS text)
      )
    ORDER BY c.run_at, c.id
    LIMIT CAST(:n AS int) + least(3 * CAST(:n AS int), 400)
),
locked AS MATERIALIZED (
    SELECT won.id, won.bytes, c.run_at
    FROM candidates c
    CROSS JOIN LATERAL (
        SELECT r.id, j.payload_bytes AS bytes
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
-- @include fitting
-- @include start
, counted AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM locked) > (SELECT count(*) FROM picked)
           THEN greatest(CAST(:n AS int), (SELECT count(*) FROM candidates))
           ELSE (SELECT count(*) FROM candidates) END AS seen
)
SELECT s.*, c.seen FROM started s CROSS JOIN counted c
UNION ALL
-- one row in any case, so that a head of which nothing was won is still told from an empty one
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       c.seen
FROM counted c
