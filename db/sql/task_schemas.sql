-- What was announced under some names and hashes.
-- index: tasks_pkey
SELECT t.name, t.schema_hash, t.payload_schema, t.result_schema, t.defaults
FROM errander.tasks t
JOIN unnest(CAST(:names AS text[]), CAST(:hashes AS text[])) AS g (name, schema_hash)
    ON g.name = t.name AND g.schema_hash = t.schema_hash
ORDER BY t.name, t.schema_hash
