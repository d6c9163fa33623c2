-- Pauses a queue; a second pause only changes the reason.
-- index: queue_pauses_pkey
INSERT INTO errander.queue_pauses (pool, priority, reason)
VALUES (CAST(:pool AS text), CAST(:priority AS text), CAST(:reason AS text))
ON CONFLICT (pool, priority) DO UPDATE SET reason = coalesce(excluded.reason, queue_pauses.reason)
RETURNING pool
