-- The queues that are paused, since when and why.
-- index: queue_pauses_pkey
SELECT q.pool, q.priority, q.at, q.reason FROM errander.queue_pauses q ORDER BY q.pool, q.priority
