-- Ends the pause of a queue, if there is one.
-- index: queue_pauses_pkey
DELETE FROM errander.queue_pauses p
WHERE p.pool = :pool AND p.priority = :priority
RETURNING p.reason
