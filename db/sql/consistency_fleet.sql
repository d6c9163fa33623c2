-- Workers live and have lived for a lease, but nobody has led for one; tasks that are paused and that nothing has ever
-- announced. Examples are worker ids and names of tasks. Reads only.
-- index: none; these tables are short
WITH living AS MATERIALIZED (
    SELECT w.id
    FROM errander.workers w
    WHERE
        w.dead_at IS NULL
        AND w.beat_at > now() - make_interval(secs => CAST(:lease AS double precision))
        AND w.started_at < now() - make_interval(secs => CAST(:lease AS double precision))
        AND NOT EXISTS (
            SELECT FROM errander.leaders l
            WHERE l.until > now() - make_interval(secs => CAST(:lease AS double precision))
        )
),
unknown AS MATERIALIZED (
    SELECT p.task FROM errander.task_pauses p WHERE p.task NOT IN (SELECT t.name FROM errander.tasks t)
)
SELECT
    'leader-missing' AS code, CAST(count(*) AS integer) AS found,
    (array_agg(CAST(v.id AS text) ORDER BY v.id))[1:CAST(:most AS integer)] AS examples, CAST(NULL AS text) AS last
FROM living v
HAVING count(*) > 0
UNION ALL
SELECT
    'pause-unknown', CAST(count(*) AS integer), (array_agg(k.task ORDER BY k.task))[1:CAST(:most AS integer)], NULL
FROM unknown k
HAVING count(*) > 0
