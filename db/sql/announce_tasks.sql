-- Puts tasks into the catalogue, or says that they are still current.
-- locks: tasks in (name, schema_hash) order
-- index: tasks_pkey
INSERT INTO errander.tasks (name, schema_hash, payload_schema, result_schema, defaults)
SELECT g.name, g.schema_hash, g.payload_schema, g.result_schema, g.defaults
FROM unnest(
    CAST(:names AS text[]), CAST(:hashes AS text[]), CAST(:payload_schemas AS jsonb[]),
    CAST(:result_schemas AS jsonb[]), CAST(:defaults AS jsonb[])
) AS g (name, schema_hash, payload_schema, result_schema, defaults)
ORDER BY g.name, g.schema_hash
ON CONFLICT (name, schema_hash) DO UPDATE SET announced_at = excluded.announced_at, defaults = excluded.defaults
RETURNING name
