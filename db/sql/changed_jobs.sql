-- Jobs of some tenants that may have changed since a moment, each with the version of its row: submitted since (looked for
-- from :floor on, as ids are made by other clocks), running and started or with progress since, named by a row of the history
-- above :last, or ended since. More than :look of one tenant are left out, and a row without an id names that tenant: what one
-- tenant does hides nothing of the others'. The last row carries the mark for the next time; its `cut` says that there may be
-- more of anybody's, because :deep rows that ended or were noted are not all of them.
-- Each kind is found by its own index first and by its tenant after that: tenants are known too roughly to plan with.
-- index: jobs_newest, jobs_pkey, history_pkey, jobs_finished
WITH made AS MATERIALIZED (
    SELECT t.tenant, m.id, m.version
    FROM unnest(CAST(:tenants AS text[])) AS t (tenant)
    CROSS JOIN LATERAL (
        SELECT j.id, CAST(j.xmin AS text) AS version, j.created_at
        FROM errander.jobs j
        WHERE j.tenant = t.tenant AND j.id >= CAST(:floor AS uuid)
        ORDER BY j.id DESC
        LIMIT CAST(:look AS integer) + 1
    ) AS m
    WHERE m.created_at >= CAST(:since AS timestamptz)
),
ran AS MATERIALIZED (
    SELECT j.tenant, j.id, CAST(j.xmin AS text) AS version
    FROM errander.running r
    JOIN errander.jobs j ON j.id = r.id
    WHERE j.started_at >= CAST(:since AS timestamptz)
       OR CAST(j.progress ->> 'at' AS timestamptz) >= CAST(:since AS timestamptz)
),
rows_noted AS MATERIALIZED (
    SELECT h.job_id AS id
    FROM errander.history h
    WHERE h.id > CAST(:last AS bigint)
    ORDER BY h.id
    LIMIT CAST(:deep AS integer)
),
noted AS MATERIALIZED (
    SELECT j.tenant, j.id, CAST(j.xmin AS text) AS version
    FROM (SELECT DISTINCT n.id FROM rows_noted n) AS d
    JOIN errander.jobs j ON j.id = d.id
),
ended AS MATERIALIZED (
    SELECT j.tenant, j.id, CAST(j.xmin AS text) AS version
    FROM errander.jobs j
    WHERE j.finished_at >= CAST(:since AS timestamptz)
    LIMIT CAST(:deep AS integer)
),
changed AS (
    SELECT m.tenant, m.id, m.version FROM made m
    UNION
    SELECT r.tenant, r.id, r.version FROM ran r WHERE r.tenant = ANY(CAST(:tenants AS text[]))
    UNION
    SELECT n.tenant, n.id, n.version FROM noted n WHERE n.tenant = ANY(CAST(:tenants AS text[]))
    UNION
    SELECT e.tenant, e.id, e.version FROM ended e WHERE e.tenant = ANY(CAST(:tenants AS text[]))
),
counted AS MATERIALIZED (
    SELECT c.tenant, c.id, c.version, count(*) OVER (PARTITION BY c.tenant) > CAST(:look AS integer) AS cut
    FROM changed c
)
SELECT
    c.tenant, c.id, c.version,
    CAST(NULL AS timestamptz) AS at, CAST(NULL AS bigint) AS top, CAST(NULL AS boolean) AS cut
FROM counted c
WHERE NOT c.cut
UNION ALL
SELECT DISTINCT c.tenant, CAST(NULL AS uuid), CAST(NULL AS text), CAST(NULL AS timestamptz), CAST(NULL AS bigint), TRUE
FROM counted c
WHERE c.cut
UNION ALL
SELECT
    NULL, NULL, NULL, now(), (SELECT coalesce(max(h.id), 0) FROM errander.history h),
    (SELECT count(*) = CAST(:deep AS integer) FROM rows_noted)
    OR (SELECT count(*) = CAST(:deep AS integer) FROM ended)
