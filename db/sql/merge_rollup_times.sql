-- Moves histograms of :span seconds that are older than :seconds into those of :into seconds, a bounded batch at a time.
-- guard: the caller holds the row of `lock_rollups`
-- locks: rollup_times, by key
-- index: rollup_times_pkey
WITH old AS MATERIALIZED (
    SELECT r.span, r.at, r.tenant, r.kind, r.bin
    FROM errander.rollup_times r
    WHERE r.span = CAST(:span AS integer) AND r.at < now() - make_interval(secs => CAST(:seconds AS double precision))
    ORDER BY r.at, r.tenant, r.kind, r.bin
    LIMIT CAST(:n AS integer)
),
taken AS (
    DELETE FROM errander.rollup_times r
    USING old o
    WHERE r.span = o.span AND r.at = o.at AND r.tenant = o.tenant AND r.kind = o.kind AND r.bin = o.bin
    RETURNING r.at, r.tenant, r.kind, r.bin, r.jobs
),
kept AS (
    INSERT INTO errander.rollup_times AS r (span, at, tenant, kind, bin, jobs)
    SELECT
        CAST(:into AS integer),
        date_bin(make_interval(secs => CAST(:into AS integer)), t.at, timestamptz '2000-01-01 00:00:00+00') AS bucket,
        t.tenant, t.kind, t.bin, sum(t.jobs)
    FROM taken t
    GROUP BY bucket, t.tenant, t.kind, t.bin
    ORDER BY bucket, t.tenant, t.kind, t.bin
    ON CONFLICT (span, at, tenant, kind, bin) DO UPDATE SET jobs = r.jobs + excluded.jobs
)
SELECT count(*) AS merged FROM taken
