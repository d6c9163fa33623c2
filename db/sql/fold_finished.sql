-- Counts what ended from :since, which is the mark, until :until, and moves the mark there: ends into the rollups of :span
-- seconds, present final jobs into the totals.
-- A job that was replayed meanwhile has left its row; its end is read from the history. It ended all the same, so the
-- rollups count it. The totals count it if it was final at :until, and the replay is subtracted in its own turn.
-- guard: the caller holds the row of `lock_rollups`, and :since is what it says
-- locks: rollups, rollup_times, rollup_totals, rollup_marks, each by key; nobody else writes the first two
-- index: jobs_finished, history_replayed, jobs_pkey
WITH ended AS MATERIALIZED (
    SELECT
        j.tenant, j.pool, j.priority, j.task, j.status, j.finished_at,
    -- @include times
    FROM errander.jobs j
    WHERE j.finished_at >= CAST(:since AS timestamptz) AND j.finished_at < CAST(:until AS timestamptz)
),
undone AS MATERIALIZED (
    SELECT
        j.tenant, j.pool, j.priority, j.task, h.detail ->> 'status' AS status,
        CAST(h.detail ->> 'finished_at' AS timestamptz) AS finished_at, h.at
    FROM errander.history h
    JOIN errander.jobs j ON j.id = h.job_id
    -- a replay may have begun a moment before the end that it undid
    WHERE h.event = 'replayed' AND h.at >= CAST(:since AS timestamptz) - interval '1 minute'
),
events AS (
    SELECT e.tenant, e.pool, e.priority, e.task, e.status, e.finished_at, e.waited, e.ran FROM ended e
    UNION ALL
    SELECT u.tenant, u.pool, u.priority, u.task, u.status, u.finished_at, NULL, NULL
    FROM undone u
    WHERE u.finished_at >= CAST(:since AS timestamptz) AND u.finished_at < CAST(:until AS timestamptz)
),
rolled AS (
    INSERT INTO errander.rollups AS r (span, at, tenant, pool, priority, task, status, finished, timed, waited, ran)
    SELECT
        CAST(:span AS integer),
        date_bin(make_interval(secs => CAST(:span AS integer)), e.finished_at, timestamptz '2000-01-01 00:00:00+00') AS bucket,
        e.tenant, e.pool, e.priority, e.task, e.status,
        count(*), count(e.ran), coalesce(sum(e.waited), 0), coalesce(sum(e.ran), 0)
    FROM events e
    GROUP BY bucket, e.tenant, e.pool, e.priority, e.task, e.status
    ORDER BY bucket, e.tenant, e.pool, e.priority, e.task, e.status
    ON CONFLICT (span, at, tenant, pool, priority, task, status) DO UPDATE
    SET finished = r.finished + excluded.finished, timed = r.timed + excluded.timed,
        waited = r.waited + excluded.waited, ran = r.ran + excluded.ran
),
timed AS (
    INSERT INTO errander.rollup_times AS r (span, at, tenant, kind, bin, jobs)
    SELECT b.span, b.at, b.tenant, b.kind, b.bin, count(*)
    FROM (
        SELECT
            CAST(:span AS integer) AS span,
            date_bin(make_interval(secs => CAST(:span AS integer)), e.finished_at, timestamptz '2000-01-01 00:00:00+00') AS at,
            e.tenant, t.kind,
    -- @include binned
        FROM ended e
        CROSS JOIN LATERAL (VALUES ('wait', e.waited), ('run', e.ran)) AS t (kind, seconds)
        WHERE t.seconds IS NOT NULL
    ) AS b
    GROUP BY b.span, b.at, b.tenant, b.kind, b.bin
    ORDER BY b.span, b.at, b.tenant, b.kind, b.bin
    ON CONFLICT (span, at, tenant, kind, bin) DO UPDATE SET jobs = r.jobs + excluded.jobs
),
changes AS (
    SELECT e.tenant, e.status, 1 AS jobs FROM ended e
    UNION ALL
    -- final at :until, and replayed since
    SELECT u.tenant, u.status, 1
    FROM undone u
    WHERE
        u.finished_at >= CAST(:since AS timestamptz) AND u.finished_at < CAST(:until AS timestamptz)
        AND u.at >= CAST(:until AS timestamptz)
    UNION ALL
    -- counted before, and replayed since
    SELECT u.tenant, u.status, -1
    FROM undone u
    WHERE
        u.finished_at < CAST(:since AS timestamptz)
        AND u.at >= CAST(:since AS timestamptz) AND u.at < CAST(:until AS timestamptz)
),
counted AS (
    INSERT INTO errander.rollup_totals AS t (tenant, status, jobs)
    SELECT c.tenant, c.status, sum(c.jobs)
    FROM changes c
    GROUP BY c.tenant, c.status
    ORDER BY c.tenant, c.status
    ON CONFLICT (tenant, status) DO UPDATE SET jobs = t.jobs + excluded.jobs
),
marked AS (
    UPDATE errander.rollup_marks m SET folded_until = CAST(:until AS timestamptz) WHERE m.name = 'finished'
)
SELECT count(*) AS finished FROM ended
