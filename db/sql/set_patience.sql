-- How long this transaction waits for a lock.
SELECT set_config('lock_timeout', CAST(:patience AS text), true) AS granted
