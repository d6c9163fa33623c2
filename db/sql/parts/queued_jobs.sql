queued AS (
    INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at, expires_at)
    SELECT i.id, i.tenant, i.pool, i.priority, i.task, i.run_at, i.expires_at FROM inserted i ORDER BY i.id
)
SELECT
    i.id, i.run_at, i.created_at, i.expires_at,
    CAST(extract(epoch FROM i.run_at - now()) AS double precision) AS due_in
FROM inserted i
ORDER BY i.id
