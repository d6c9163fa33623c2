-- Takes or renews a leader's term. A row comes back only to whoever leads now.
-- guard: its own term, or one that is over, on the locked row; or one that ends so late that only a clock which has been
-- set back since can explain it, because its leader may be dead and nobody else would lead until the clock is there again
-- index: leaders_pkey
INSERT INTO errander.leaders (name, worker_id, term, until)
VALUES (CAST(:name AS text), CAST(:worker AS uuid), 1, now() + make_interval(secs => CAST(:seconds AS float8)))
ON CONFLICT (name) DO UPDATE
SET worker_id = excluded.worker_id, until = excluded.until,
    term = leaders.term + (leaders.worker_id <> excluded.worker_id)::int
WHERE leaders.worker_id = excluded.worker_id OR leaders.until < now()
   OR leaders.until > now() + make_interval(secs => 2 * CAST(:seconds AS float8))
RETURNING term
