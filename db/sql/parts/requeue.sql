-- requeue: what waits again goes back into the queue, what ended leaves the leases
released AS (
    DELETE FROM errander.running r USING done d WHERE r.id = d.id
), queued AS (
    INSERT INTO errander.ready (id, tenant, pool, priority, task, run_at, expires_at)
    SELECT d.id, d.tenant, d.pool, d.priority, d.task, d.run_at, d.expires_at
    FROM done d
    WHERE d.status IN ('PENDING', 'RETRYING')
    ORDER BY d.id
)
