-- Jobs that may have changed since a moment, each with the version of its row: submitted since (looked for from :floor on, as
-- ids are made by other clocks), running and started or with progress since, named by a row of the history above :last, or
-- ended since. Of all tenants: it says ids and versions only. At most :look of each kind; where there may be more, `cut` of
-- the last row says so, which has no id and carries the mark for the next time.
-- index: jobs_pkey, history_pkey, jobs_finished
WITH made AS MATERIALIZED (
    SELECT j.id, CAST(j.xmin AS text) AS version, j.created_at AS at
    FROM errander.jobs j
    WHERE j.id >= CAST(:floor AS uuid)
    ORDER BY j.id DESC
    LIMIT CAST(:look AS integer)
),
ran AS MATERIALIZED (
    SELECT j.id, CAST(j.xmin AS text) AS version
    FROM errander.running r
    JOIN errander.jobs j ON j.id = r.id
    WHERE j.started_at >= CAST(:since AS timestamptz)
       OR CAST(j.progress ->> 'at' AS timestamptz) >= CAST(:since AS timestamptz)
    LIMIT CAST(:look AS integer)
),
noted AS MATERIALIZED (
    SELECT h.job_id AS id
    FROM errander.history h
    WHERE h.id > CAST(:last AS bigint)
    ORDER BY h.id
    LIMIT CAST(:look AS integer)
),
ended AS MATERIALIZED (
    SELECT j.id, CAST(j.xmin AS text) AS version
    FROM errander.jobs j
    WHERE j.finished_at >= CAST(:since AS timestamptz)
    LIMIT CAST(:look AS integer)
),
changed AS (
    SELECT m.id, m.version FROM made m WHERE m.at >= CAST(:since AS timestamptz)
    UNION
    SELECT r.id, r.version FROM ran r
    UNION
    SELECT e.id, e.version FROM ended e
    UNION
    SELECT j.id, CAST(j.xmin AS text)
    FROM (SELECT DISTINCT n.id FROM noted n) AS d
    JOIN errander.jobs j ON j.id = d.id
)
SELECT c.id, c.version, CAST(NULL AS timestamptz) AS at, CAST(NULL AS bigint) AS top, CAST(NULL AS boolean) AS cut
FROM changed c
UNION ALL
SELECT
    NULL, NULL, now(), (SELECT coalesce(max(h.id), 0) FROM errander.history h),
    (SELECT count(*) = CAST(:look AS integer) AND min(m.at) >= CAST(:since AS timestamptz) FROM made m)
    OR (SELECT count(*) = CAST(:look AS integer) FROM ran)
    OR (SELECT count(*) = CAST(:look AS integer) FROM noted)
    OR (SELECT count(*) = CAST(:look AS integer) FROM ended)
