-- Deletes what was written into the audit log long ago, oldest first. It looks at the :n oldest rows and no further: ids
-- grow with the time of writing, but for the few seconds that a transaction may last.
-- guard: the trigger of the table refuses every delete but in a transaction that has this setting
-- locks: audit in id order, SKIP LOCKED
-- index: audit_pkey
WITH
-- Set before the first row is deleted, for this transaction only.
allowed AS MATERIALIZED (
    SELECT set_config('errander_audit.prune', 'on', true) AS granted
),
oldest AS MATERIALIZED (
    SELECT a.id, a.at FROM errander.audit a ORDER BY a.id LIMIT CAST(:n AS int)
),
old AS MATERIALIZED (
    SELECT a.id
    FROM oldest o
    JOIN errander.audit a ON a.id = o.id
    JOIN allowed w ON w.granted IS NOT NULL
    WHERE o.at < now() - make_interval(secs => CAST(:seconds AS float8))
    ORDER BY a.id
    FOR UPDATE OF a SKIP LOCKED
)
DELETE FROM errander.audit a USING old o WHERE a.id = o.id RETURNING a.id
