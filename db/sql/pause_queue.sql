-- Pauses a queue, or locks the pause that there is. `reason` is the one that it has, `new` whether this made it: a row
-- that this statement inserted has no xmax, and one that it only locked has.
-- index: queue_pauses_pkey
INSERT INTO errander.queue_pauses AS p (pool, priority, reason)
VALUES (CAST(:pool AS text), CAST(:priority AS text), CAST(:reason AS text))
ON CONFLICT (pool, priority) DO UPDATE SET reason = p.reason
RETURNING p.xmax = 0 AS new, p.reason
