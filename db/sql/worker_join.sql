-- A worker process begins: its row is its lease.
-- index: workers_pkey
INSERT INTO errander.workers (id, pool, priorities, tasks, host, pid, version, slots, metrics_port, info)
VALUES (CAST(:worker AS uuid), CAST(:pool AS text), CAST(:priorities AS text[]), CAST(CAST(:tasks AS text) AS jsonb),
        CAST(:host AS text), CAST(:pid AS int), CAST(:version AS text), CAST(:slots AS int), CAST(:metrics_port AS int),
        CAST(CAST(:info AS text) AS jsonb))
ON CONFLICT (id) DO NOTHING
