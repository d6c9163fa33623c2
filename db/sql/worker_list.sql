-- Living workers, or one of them by id; `running` is counted from the leases.
-- index: workers_pkey or none, running_worker
SELECT w.id, w.pool, w.priorities, w.tasks, w.host, w.pid, w.version, w.slots, w.started_at, w.beat_at,
       w.drain_requested_at, w.metrics_port, w.info,
       (SELECT count(*) FROM errander.running r WHERE r.worker_id = w.id)::int AS running
FROM errander.workers w
WHERE w.dead_at IS NULL AND (CAST(:worker AS uuid) IS NULL OR w.id = CAST(:worker AS uuid))
ORDER BY w.started_at, w.id
