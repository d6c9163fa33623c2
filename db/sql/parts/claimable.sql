    -- claimable: due, not expired, of a task and a pool this worker serves, nothing about it paused
    r.run_at <= now()
    AND (r.expires_at IS NULL OR r.expires_at > now())
    AND r.pool = CAST(:pool AS text)
    AND r.task = ANY(CAST(:tasks AS text[]))
    AND NOT EXISTS (SELECT FROM errander.queue_pauses q WHERE q.pool = r.pool AND q.priority = r.priority)
    AND NOT EXISTS (SELECT FROM errander.task_pauses t WHERE t.task = r.task)
