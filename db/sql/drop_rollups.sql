-- Deletes rollups and histograms of :span seconds that are older than :seconds, a bounded batch of each at a time.
-- guard: the caller holds the row of `lock_rollups`
-- locks: rollups, rollup_times, by key
-- index: rollups_pkey, rollup_times_pkey
WITH old AS MATERIALIZED (
    SELECT r.span, r.at, r.tenant, r.pool, r.priority, r.task, r.status
    FROM errander.rollups r
    WHERE r.span = CAST(:span AS integer) AND r.at < now() - make_interval(secs => CAST(:seconds AS double precision))
    ORDER BY r.at, r.tenant, r.pool, r.priority, r.task, r.status
    LIMIT CAST(:n AS integer)
),
old_times AS MATERIALIZED (
    SELECT r.span, r.at, r.tenant, r.kind, r.bin
    FROM errander.rollup_times r
    WHERE r.span = CAST(:span AS integer) AND r.at < now() - make_interval(secs => CAST(:seconds AS double precision))
    ORDER BY r.at, r.tenant, r.kind, r.bin
    LIMIT CAST(:n AS integer)
),
dropped AS (
    DELETE FROM errander.rollups r
    USING old o
    WHERE
        r.span = o.span AND r.at = o.at AND r.tenant = o.tenant AND r.pool = o.pool AND r.priority = o.priority
        AND r.task = o.task AND r.status = o.status
    RETURNING 1
),
dropped_times AS (
    DELETE FROM errander.rollup_times r
    USING old_times o
    WHERE r.span = o.span AND r.at = o.at AND r.tenant = o.tenant AND r.kind = o.kind AND r.bin = o.bin
    RETURNING 1
)
SELECT greatest((SELECT count(*) FROM dropped), (SELECT count(*) FROM dropped_times)) AS merged
