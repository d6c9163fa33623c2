-- Those of some jobs of some tenants whose row is another than the version at hand, as they are now: without payload and
-- result, and with the last of their errors. A job that is not there comes as its asked-for id alone.
-- index: jobs_pkey
SELECT
    w.id AS asked_id, w.tenant AS asked_tenant, now() AS at, CAST(j.xmin AS text) AS version,
    j.id, j.tenant, j.task, j.pool, j.priority, j.status, j.attempt, j.failures, j.crashes, j.replays, j.max_attempts,
    j.max_crashes, j.timeout, j.backoff, j.run_at, j.created_at, j.started_at, j.finished_at, j.failed_at, j.expires_at,
    j.cancel_requested_at, j.cancelled_by, j.cancel_reason, j.worker_id,
    CASE WHEN jsonb_array_length(j.errors) > 0 THEN jsonb_build_array(j.errors -> -1) ELSE j.errors END AS errors,
    j.progress, j.tags, j.metadata, j.idempotency_key, j.unique_key, j.depends_on, j.parent_id, j.schedule_id, j.workflow_id
FROM unnest(CAST(:ids AS uuid[]), CAST(:tenants AS text[]), CAST(:versions AS text[])) AS w (id, tenant, version)
LEFT JOIN errander.jobs j ON j.id = w.id AND j.tenant = w.tenant
WHERE j.id IS NULL OR CAST(j.xmin AS text) <> w.version
