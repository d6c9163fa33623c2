-- Takes or renews a leader's term. A row comes back only to whoever leads now.
-- guard: its own term, or one that is over, on the locked row
-- index: leaders_pkey
INSERT INTO errander.leaders (name, worker_id, term, until)
VALUES (CAST(:name AS text), CAST(:worker AS uuid), 1, now() + make_interval(secs => CAST(:seconds AS float8)))
ON CONFLICT (name) DO UPDATE
SET worker_id = excluded.worker_id, until = excluded.until,
    term = leaders.term + (leaders.worker_id <> excluded.worker_id)::int
WHERE leaders.worker_id = excluded.worker_id OR leaders.until < now()
RETURNING term
