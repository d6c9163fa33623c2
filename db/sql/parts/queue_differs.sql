    -- queue_differs: a row of the queue does not say what its job says
    (r.tenant, r.pool, r.priority, r.task, r.run_at, r.expires_at)
    IS DISTINCT FROM (j.tenant, j.pool, j.priority, j.task, j.run_at, j.expires_at)
