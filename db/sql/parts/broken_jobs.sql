-- broken_jobs: what each job of looked(id) breaks. Every other table is asked by key, one row at a time: OFFSET 0 keeps
-- the planner from joining a table as a whole, whatever its statistics say.
seen AS MATERIALIZED (
    SELECT
        j.id, j.tenant, j.status, j.attempt, j.failures, j.crashes, j.replays, j.max_attempts, j.max_crashes, j.started_at,
        j.finished_at, j.failed_at, j.idempotency_key, j.errors
    FROM looked l
    CROSS JOIN LATERAL (
        SELECT
            o.id, o.tenant, o.status, o.attempt, o.failures, o.crashes, o.replays, o.max_attempts, o.max_crashes, o.started_at,
            o.finished_at, o.failed_at, o.idempotency_key, o.errors
        FROM errander.jobs o
        WHERE o.id = l.id
        OFFSET 0
    ) j
),
broken AS MATERIALIZED (
    SELECT v.code, s.id
    FROM seen s
    LEFT JOIN LATERAL (SELECT true AS there FROM errander.ready r WHERE r.id = s.id OFFSET 0) q ON true
    LEFT JOIN LATERAL (SELECT true AS there FROM errander.running u WHERE u.id = s.id OFFSET 0) l ON true
    LEFT JOIN LATERAL (
        SELECT true AS there
        FROM errander.idempotency_keys i
        WHERE
            s.idempotency_key IS NOT NULL AND s.finished_at IS NULL
            AND i.tenant = s.tenant AND i.route = 'POST /v1/jobs' AND i.key = s.idempotency_key
            AND s.id = ANY (i.job_ids)
        OFFSET 0
    ) k ON true
    CROSS JOIN LATERAL (
        VALUES
        ('ready-missing', s.status IN ('PENDING', 'RETRYING') AND q.there IS NULL),
        ('lease-missing', s.status = 'RUNNING' AND l.there IS NULL),
        (
            'status-wrong',
            (s.status = 'PENDING' AND s.failures + s.crashes > 0)
            OR (s.status = 'RETRYING' AND s.failures + s.crashes = 0)
        ),
        (
            'budget-passed',
            (s.status <> 'FAILED' AND s.failures >= s.max_attempts) OR s.failures > s.max_attempts
            OR (s.status NOT IN ('FAILED', 'CANCELLED') AND s.crashes >= s.max_crashes) OR s.crashes > s.max_crashes
        ),
        (
            'end-wrong',
            (s.status IN ('SUCCESS', 'FAILED', 'CANCELLED')) <> (s.finished_at IS NOT NULL)
            OR (s.status = 'FAILED') <> (s.failed_at IS NOT NULL)
        ),
        (
            'attempt-wrong',
            s.failures + s.crashes > s.attempt OR (s.attempt = 0) <> (s.started_at IS NULL)
            OR (s.status IN ('RUNNING', 'SUCCESS') AND s.attempt = 0)
            OR CASE
                WHEN jsonb_typeof(s.errors -> -1 -> 'attempt') = 'number'
                    THEN CAST(s.errors -> -1 ->> 'attempt' AS numeric) > s.attempt
                ELSE false
            END
        ),
        -- A replay may outlive its key: the key was released after the job's first end.
        (
            'key-missing',
            s.idempotency_key IS NOT NULL AND s.finished_at IS NULL AND s.replays = 0 AND k.there IS NULL
        )
    ) AS v (code, is_so)
    WHERE v.is_so
)
SELECT
    b.code, CAST(count(*) AS integer) AS found,
    (array_agg(CAST(b.id AS text) ORDER BY b.id))[1:CAST(:most AS integer)] AS examples, CAST(NULL AS text) AS last
FROM broken b
GROUP BY b.code
UNION ALL
SELECT
    NULL, CAST((SELECT count(*) FROM seen) AS integer), NULL,
    (SELECT CAST(l.id AS text) FROM looked l ORDER BY l.id DESC LIMIT 1)
