-- Gives a paused task another reason.
-- locks: task_pauses, the one row
-- index: task_pauses_pkey
UPDATE errander.task_pauses p SET reason = CAST(:reason AS text) WHERE p.task = :task RETURNING p.task
