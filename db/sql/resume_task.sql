-- Ends the pause of a task, if there is one.
-- index: task_pauses_pkey
DELETE FROM errander.task_pauses p WHERE p.task = :task RETURNING p.reason
