-- edge: rescue: RUNNING → PENDING RETRYING FAILED CANCELLED
-- The reaper: declares silent workers dead, and takes every running job of a dead or a missing worker, not only of the
-- newly dead: a claim that committed late is found at the next tick. A crash is charged, except for a job that ran
-- isolated: its worker's death is free five times since the last replay, because the job's own child was not seen to
-- die. Bounded, repeated until it takes none: an unbounded rescue would meet the statement timeout for ever.
-- guard: a worker is marked only if its beat is still the one that was observed; jobs by status, that worker and the
--        attempt of its lease
-- locks: workers in id order; then jobs in id order, SKIP LOCKED; then running, ready
-- index: workers_pkey, jobs_pkey, history_job; `running` is read whole, which is as short as the fleet's slots are few
WITH observed AS MATERIALIZED (
    SELECT w.id
    FROM unnest(CAST(:silent AS uuid[]), CAST(:beats AS timestamptz[])) AS s(id, beat)
    JOIN errander.workers w ON w.id = s.id
    WHERE w.dead_at IS NULL AND w.beat_at = s.beat
    ORDER BY w.id
    FOR NO KEY UPDATE OF w
), dead AS (
    UPDATE errander.workers w SET dead_at = now() FROM observed o WHERE w.id = o.id RETURNING w.id
), lost AS MATERIALIZED (
    SELECT j.id, j.started_at,
           j.cancel_requested_at IS NOT NULL AS cancelled,
    -- @include isolated
           AND 5 > (
               SELECT count(*) FROM errander.history h
               WHERE h.job_id = j.id AND h.event = 'rescued' AND h.detail ->> 'charged' = 'false'
                 AND h.id > coalesce((SELECT max(p.id) FROM errander.history p
                                      WHERE p.job_id = j.id AND p.event = 'replayed'), 0)
           ) AS free
    FROM errander.running r
    JOIN errander.jobs j ON j.id = r.id
    WHERE (
            r.worker_id IN (SELECT d.id FROM dead d)
            OR NOT EXISTS (SELECT FROM errander.workers w WHERE w.id = r.worker_id AND w.dead_at IS NULL)
          )
      -- the attempt as it was when this statement began: a later one has a lease that is not seen here
      AND j.worker_id = r.worker_id AND j.attempt = r.attempt AND j.status || '' = 'RUNNING'
    ORDER BY j.id
    LIMIT CAST(:n AS int)
    FOR NO KEY UPDATE OF j SKIP LOCKED
), verdict AS MATERIALIZED (
    SELECT b.id, b.started_at, b.cancelled, b.free, NOT b.cancelled AND NOT b.free AND b.crashes >= b.max_crashes AS over,
           b.crashes,
    -- @include backoff
           AS delay,
           jsonb_build_object(
               'attempt', b.attempt, 'at', to_jsonb(now()), 'worker', b.worker_id, 'kind', 'lost', 'type', 'WorkerLost',
               'message', 'the worker that ran it died or fell silent for longer than its lease', 'traceback', NULL
           ) AS error
    FROM (
        SELECT l.*, j.backoff, j.attempt, j.worker_id, j.max_crashes, j.crashes + (NOT l.free)::int AS crashes,
               greatest(1, j.crashes + (NOT l.free)::int) AS n
        FROM lost l JOIN errander.jobs j ON j.id = l.id
    ) b
), done AS (
    UPDATE errander.jobs j
    SET status = CASE WHEN l.cancelled THEN 'CANCELLED' WHEN l.over THEN 'FAILED'
                      WHEN j.failures + l.crashes > 0 THEN 'RETRYING' ELSE 'PENDING' END,
        crashes = l.crashes,
        errors = CASE WHEN l.free THEN j.errors
                      WHEN jsonb_array_length(j.errors) >= 20 THEN (j.errors - 0) || l.error ELSE j.errors || l.error END,
    -- @include cancelled_by
        finished_at = CASE WHEN l.over OR l.cancelled THEN now() END,
        failed_at = CASE WHEN l.over THEN now() END,
        run_at = CASE WHEN l.over OR l.cancelled THEN j.run_at ELSE now() + make_interval(secs => l.delay) END
    FROM verdict l
    WHERE j.id = l.id
    RETURNING l.free,
    -- @include moved_columns
),
-- @include requeue
, noted AS (
    INSERT INTO errander.history (job_id, event, status, attempt, worker_id, detail, started_at)
    SELECT d.id, 'rescued', d.status, d.attempt, d.worker_id,
           jsonb_build_object('charged', NOT d.free, 'run_at', CASE WHEN d.status IN ('PENDING', 'RETRYING') THEN to_jsonb(d.run_at) END),
           d.started_at
    FROM done d ORDER BY d.id
)
SELECT d.id, d.status, d.pool, d.priority, extract(epoch FROM d.run_at - now())::float8 AS due_in, d.worker_id,
       d.attempt, d.free
FROM done d
