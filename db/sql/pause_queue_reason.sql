-- Gives a paused queue another reason.
-- locks: queue_pauses, the one row
-- index: queue_pauses_pkey
UPDATE errander.queue_pauses p SET reason = CAST(:reason AS text)
WHERE p.pool = :pool AND p.priority = :priority
RETURNING p.pool
