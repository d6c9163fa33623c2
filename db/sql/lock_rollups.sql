-- Takes the row that whoever counts must hold; nothing where another holds it. `settled_until` is the moment before which
-- nothing can end any more. (A job's end is the `now()` of a transaction, which is its start, and it commits later.) So it is
-- the start of the oldest open transaction, or :margin seconds ago if that is earlier. A transaction that has written
-- nothing within :longest seconds of its start never will, by the limits of the role, and does not count. Where a session
-- does not show when its transaction began, it is :longest seconds ago.
-- guard: none; the caller counts in the same transaction, by a later statement, whose snapshot has all that was committed
-- locks: rollup_marks, one row, SKIP LOCKED
-- index: none; one row, and the sessions of the server
SELECT
    m.folded_until,
    (
        SELECT
            least(
                now() - make_interval(secs => CAST(:margin AS double precision)),
                min(a.xact_start) FILTER (
                    WHERE
                        a.backend_xid IS NOT NULL
                        OR a.xact_start > now() - make_interval(secs => CAST(:longest AS double precision))
                ),
                CASE
                    WHEN bool_or(a.state IS NULL OR a.state = 'disabled')
                        THEN now() - make_interval(secs => CAST(:longest AS double precision))
                END
            )
        FROM pg_catalog.pg_stat_activity a
        WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
    ) AS settled_until
FROM errander.rollup_marks m
WHERE m.name = 'finished'
FOR UPDATE OF m SKIP LOCKED
