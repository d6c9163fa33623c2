-- Pauses a task that the catalogue knows; a second pause only changes the reason.
-- index: task_pauses_pkey, tasks_pkey
INSERT INTO errander.task_pauses (task, reason)
SELECT DISTINCT t.name, CAST(:reason AS text) FROM errander.tasks t WHERE t.name = :task
ON CONFLICT (task) DO UPDATE SET reason = coalesce(excluded.reason, task_pauses.reason)
RETURNING task
