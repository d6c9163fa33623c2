    -- claimable: due, not expired, of a task and a pool this worker serves, nothing about it paused
    r.run_at <= now()
    AND (r.expires_at IS NULL OR r.expires_at > now())
    AND r.pool = CAST(:pool AS text)
    AND r.task = ANY(CAST(:tasks AS text[]))
    -- NOT IN, not NOT EXISTS: that becomes an anti-join, which is not judged anew on a row that was locked
    AND (r.pool, r.priority) NOT IN (SELECT q.pool, q.priority FROM errander.queue_pauses q)
    AND r.task NOT IN (SELECT t.task FROM errander.task_pauses t)
