-- The payload schemas of a task that living workers have and the asking one has not. Reads only.
-- index: tasks_pkey
SELECT DISTINCT t.schema_hash, t.payload_schema
FROM errander.workers w
JOIN errander.tasks t ON t.name = CAST(:task AS text) AND t.schema_hash = w.tasks ->> CAST(:task AS text)
WHERE w.dead_at IS NULL AND w.beat_at > now() - make_interval(secs => CAST(:lease AS float8))
  AND w.tasks ->> CAST(:task AS text) <> CAST(:schema_hash AS text)
