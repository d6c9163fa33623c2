-- Deletes final jobs older than their retention, with their history, a bounded batch at a time, and takes those that were
-- counted out of the totals. It walks the jobs in the order of their ids, which is the order in which they were made, from
-- :after on: at most :look of them, and only those made :seconds and :lag ago. So no batch reads what another has read.
-- (By finished_at it would: a BRIN index keeps the oldest moment that ever stood in a range of pages, whatever was deleted
-- since.)
-- The row of the mark is shared with other prunes and held against whoever counts: what it says stays true until this commits.
-- guard: status and finished_at on the locked row
-- locks: jobs in id order, SKIP LOCKED; then history; rollup_marks FOR SHARE, rollup_totals, one row
-- index: jobs_pkey, history_job
WITH looked AS MATERIALIZED (
    SELECT k.id, k.status, k.finished_at
    FROM errander.jobs k
    WHERE
        k.id > CAST(:after AS uuid)
        -- the first 48 bits of an id are milliseconds since 1970
        AND k.id < CAST(
            rpad(
                lpad(
                    to_hex(
                        CAST(
                            1000 * greatest(
                                0,
                                extract(
                                    epoch FROM
                                    now() - make_interval(secs => CAST(:seconds AS float8) + CAST(:lag AS float8))
                                )
                            ) AS bigint
                        )
                    ),
                    12, '0'
                ),
                32, '0'
            ) AS uuid
        )
    ORDER BY k.id
    LIMIT CAST(:look AS int)
), old AS MATERIALIZED (
    SELECT o.id FROM looked o
    WHERE o.status = CAST(:status AS text) AND o.finished_at < now() - make_interval(secs => CAST(:seconds AS float8))
    ORDER BY o.id
    LIMIT CAST(:n AS int)
), locked AS MATERIALIZED (
    SELECT j.id, j.tenant, j.finished_at FROM errander.jobs j
    WHERE j.id IN (SELECT o.id FROM old o)
      AND j.status || '' = CAST(:status AS text)
      AND j.finished_at < now() - make_interval(secs => CAST(:seconds AS float8))
    ORDER BY j.id
    FOR UPDATE OF j SKIP LOCKED
), mark AS MATERIALIZED (
    SELECT m.folded_until FROM errander.rollup_marks m
    WHERE m.name = 'finished' AND EXISTS (SELECT FROM locked)
    FOR SHARE OF m
), past AS (
    DELETE FROM errander.history h USING locked l WHERE h.job_id = l.id
), counted AS (
    -- an insert, because the row may have been made since this statement began, by whom it waited for
    INSERT INTO errander.rollup_totals AS t (tenant, status, jobs)
    SELECT l.tenant, CAST(:status AS text), -count(*)
    FROM locked l
    JOIN mark m ON l.finished_at < m.folded_until
    GROUP BY l.tenant
    ORDER BY l.tenant
    ON CONFLICT (tenant, status) DO UPDATE SET jobs = t.jobs + excluded.jobs
), gone AS (
    DELETE FROM errander.jobs j USING locked l WHERE j.id = l.id RETURNING j.id
), reached AS (
    SELECT count(*) = CAST(:n AS int) AS full_batch FROM old
)
SELECT
    CAST((SELECT count(*) FROM gone) AS int) AS deleted,
    coalesce(
        CASE
            WHEN r.full_batch THEN (SELECT o.id FROM old o ORDER BY o.id DESC LIMIT 1)
            ELSE (SELECT o.id FROM looked o ORDER BY o.id DESC LIMIT 1)
        END,
        CAST(:after AS uuid)
    ) AS reached,
    NOT r.full_batch AND (SELECT count(*) FROM looked) < CAST(:look AS int) AS at_end
FROM reached r
