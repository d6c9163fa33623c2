-- Constraints, indexes and triggers that this version relies on and the schema does not have, or has but does not trust.
-- They hold the rules over rows that nothing else reads, so they are looked for instead. Reads the catalogue only.
-- index: none; the server's own catalogue
WITH place AS MATERIALIZED (
    SELECT c.relnamespace AS schema FROM pg_catalog.pg_class c WHERE c.oid = CAST('errander.jobs' AS regclass)
),
missing AS MATERIALIZED (
    SELECT n.name
    FROM unnest(CAST(:constraints AS text[])) AS n (name)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint c
        WHERE c.connamespace = (SELECT p.schema FROM place p) AND c.conname = n.name AND c.convalidated
    )
    UNION
    SELECT n.name
    FROM unnest(CAST(:indexes AS text[])) AS n (name)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        WHERE c.relnamespace = (SELECT p.schema FROM place p) AND c.relname = n.name AND i.indisvalid
    )
    UNION
    SELECT n.name
    FROM unnest(CAST(:triggers AS text[])) AS n (name)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = (SELECT p.schema FROM place p) AND t.tgname = n.name AND t.tgenabled IN ('O', 'A')
    )
)
SELECT
    'schema-differs' AS code, CAST(count(*) AS integer) AS found,
    (array_agg(m.name ORDER BY m.name))[1:CAST(:most AS integer)] AS examples, CAST(NULL AS text) AS last
FROM missing m
HAVING count(*) > 0
