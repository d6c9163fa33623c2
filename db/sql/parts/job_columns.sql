    j.id, j.tenant, j.task, j.pool, j.priority, j.status, j.payload, j.attempt, j.failures, j.crashes, j.replays,
    j.max_attempts, j.max_crashes, j.timeout, j.backoff, j.run_at, j.created_at, j.started_at, j.finished_at,
    j.failed_at, j.expires_at, j.cancel_requested_at, j.cancelled_by, j.cancel_reason, j.worker_id, j.result, j.errors,
    j.progress, j.tags, j.metadata, j.idempotency_key, j.unique_key, j.depends_on, j.parent_id, j.schedule_id,
    j.workflow_id
