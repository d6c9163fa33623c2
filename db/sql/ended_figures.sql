-- Everything that is asked about final jobs of all tenants, in one snapshot: what the leader has counted up to the mark, and what ended
-- since, looked at up to :sample jobs. :since is the mark as it was read before; it is a value, so that the planner knows
-- how little lies behind it. The recent figures are of the windows that end now, or at the mark where more than the sample
-- lies behind it. A row a figure, told apart by `part`:
--   looked: jobs = how many ended since the mark, at most :sample
--   total: status, jobs = final jobs that are there
--   recent: pool, priority, task, status, jobs = ended in the last five minutes, last_minute = and in the last one
--   wait, run: bin, jobs = histograms over the last five minutes
-- index: jobs_finished, history_replayed, rollups_pkey, rollup_times_pkey
WITH mark AS MATERIALIZED (
    SELECT m.folded_until AS at FROM errander.rollup_marks m WHERE m.name = 'finished'
),
tail AS MATERIALIZED (
    SELECT
        j.pool, j.priority, j.task, j.status, j.finished_at,
    -- @include times
    FROM errander.jobs j
    WHERE
        j.finished_at >= CAST(:since AS timestamptz)
        AND j.finished_at >= (SELECT m.at FROM mark m)
    LIMIT CAST(:sample AS integer)
),
looked AS MATERIALIZED (
    SELECT
        count(*) AS jobs,
        count(*) < CAST(:sample AS integer) AS whole,
        CASE WHEN count(*) < CAST(:sample AS integer) THEN now() ELSE (SELECT m.at FROM mark m) END AS until
    FROM tail
),
-- A span that the window cuts counts by the share of it that lies inside.
spans AS (
    SELECT
        r.pool, r.priority, r.task, r.status,
        r.finished * least(1, extract(epoch FROM r.at - w.until + interval '310 s') / 10) AS jobs,
        r.finished * least(1, greatest(0, extract(epoch FROM r.at - w.until + interval '70 s') / 10)) AS last_minute
    FROM errander.rollups r
    CROSS JOIN looked w
    WHERE r.span = 10 AND r.at > (SELECT l.until FROM looked l) - interval '310 s'
    UNION ALL
    SELECT
        t.pool, t.priority, t.task, t.status, 1,
        CASE WHEN t.finished_at > now() - interval '1 minute' THEN 1 ELSE 0 END
    FROM tail t
    WHERE (SELECT l.whole FROM looked l) AND t.finished_at > now() - interval '5 minutes'
),
bins AS (
    SELECT r.kind, r.bin, r.jobs
    FROM errander.rollup_times r
    WHERE r.span = 10 AND r.at > (SELECT l.until FROM looked l) - interval '305 s'
    UNION ALL
    SELECT
        t.kind,
    -- @include binned
        , 1
    FROM tail e
    CROSS JOIN LATERAL (VALUES ('wait', e.waited), ('run', e.ran)) AS t (kind, seconds)
    WHERE t.seconds IS NOT NULL AND e.finished_at > now() - interval '5 minutes'
),
totals AS (
    SELECT t.status, t.jobs FROM errander.rollup_totals t
    UNION ALL
    SELECT t.status, 1 FROM tail t
    UNION ALL
    -- counted, and replayed since
    SELECT h.detail ->> 'status', -1
    FROM errander.history h
    JOIN errander.jobs j ON j.id = h.job_id
    WHERE
        h.event = 'replayed' AND h.at >= (SELECT m.at FROM mark m)
        AND CAST(h.detail ->> 'finished_at' AS timestamptz) < (SELECT m.at FROM mark m)
)
SELECT
    'looked' AS part, NULL AS pool, NULL AS priority, NULL AS task, NULL AS status, 0 AS bin,
    CAST(l.jobs AS double precision) AS jobs, CAST(0 AS double precision) AS last_minute
FROM looked l
UNION ALL
SELECT 'total', NULL, NULL, NULL, t.status, 0, sum(t.jobs), 0 FROM totals t GROUP BY t.status
UNION ALL
SELECT 'recent', s.pool, s.priority, s.task, s.status, 0, sum(s.jobs), sum(s.last_minute)
FROM spans s
GROUP BY s.pool, s.priority, s.task, s.status
UNION ALL
SELECT b.kind, NULL, NULL, NULL, NULL, b.bin, sum(b.jobs), 0 FROM bins b GROUP BY b.kind, b.bin
