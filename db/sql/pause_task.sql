-- Pauses a task that the catalogue knows, or locks the pause that there is; answers nothing where it knows none. `reason`
-- is the one that the pause has, `new` whether this made it: a row that this statement inserted has no xmax, and one that
-- it only locked has.
-- index: task_pauses_pkey, tasks_pkey
INSERT INTO errander.task_pauses AS p (task, reason)
SELECT DISTINCT t.name, CAST(:reason AS text) FROM errander.tasks t WHERE t.name = :task
ON CONFLICT (task) DO UPDATE SET reason = p.reason
RETURNING p.xmax = 0 AS new, p.reason
