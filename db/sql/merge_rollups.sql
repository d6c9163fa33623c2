-- Moves rollups of :span seconds that are older than :seconds into those of :into seconds, a bounded batch at a time.
-- guard: the caller holds the row of `lock_rollups`
-- locks: rollups, by key
-- index: rollups_pkey
WITH old AS MATERIALIZED (
    SELECT r.span, r.at, r.tenant, r.pool, r.priority, r.task, r.status
    FROM errander.rollups r
    WHERE r.span = CAST(:span AS integer) AND r.at < now() - make_interval(secs => CAST(:seconds AS double precision))
    ORDER BY r.at, r.tenant, r.pool, r.priority, r.task, r.status
    LIMIT CAST(:n AS integer)
),
taken AS (
    DELETE FROM errander.rollups r
    USING old o
    WHERE
        r.span = o.span AND r.at = o.at AND r.tenant = o.tenant AND r.pool = o.pool AND r.priority = o.priority
        AND r.task = o.task AND r.status = o.status
    RETURNING r.at, r.tenant, r.pool, r.priority, r.task, r.status, r.finished, r.timed, r.waited, r.ran
),
kept AS (
    INSERT INTO errander.rollups AS r (span, at, tenant, pool, priority, task, status, finished, timed, waited, ran)
    SELECT
        CAST(:into AS integer),
        date_bin(make_interval(secs => CAST(:into AS integer)), t.at, timestamptz '2000-01-01 00:00:00+00') AS bucket,
        t.tenant, t.pool, t.priority, t.task, t.status, sum(t.finished), sum(t.timed), sum(t.waited), sum(t.ran)
    FROM taken t
    GROUP BY bucket, t.tenant, t.pool, t.priority, t.task, t.status
    ORDER BY bucket, t.tenant, t.pool, t.priority, t.task, t.status
    ON CONFLICT (span, at, tenant, pool, priority, task, status) DO UPDATE
    SET finished = r.finished + excluded.finished, timed = r.timed + excluded.timed,
        waited = r.waited + excluded.waited, ran = r.ran + excluded.ran
)
SELECT count(*) AS merged FROM taken
