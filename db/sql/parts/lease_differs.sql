    -- lease_differs: a lease does not say what its job says
    (u.attempt, u.worker_id, u.pool, u.priority) IS DISTINCT FROM (j.attempt, j.worker_id, j.pool, j.priority)
