-- The pauses that concern the jobs of a task in a queue. One row.
-- index: queue_pauses_pkey, task_pauses_pkey
SELECT now() AS at, q.at AS queue_paused_at, q.reason AS queue_reason, t.at AS task_paused_at, t.reason AS task_reason
FROM (VALUES (1)) AS one (row)
LEFT JOIN errander.queue_pauses q ON q.pool = :pool AND q.priority = :priority
LEFT JOIN errander.task_pauses t ON t.task = :task
