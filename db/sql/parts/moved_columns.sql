    -- moved_columns: of a row that an edge has moved, what the queue and the history take, and the start that it ended
    j.id, j.status, j.tenant, j.pool, j.priority, j.task, j.run_at, j.expires_at, j.attempt, j.worker_id, l.started_at
