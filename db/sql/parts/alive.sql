    -- alive: this worker's own row, not declared dead, its beat younger than half a lease
    EXISTS (
        SELECT FROM errander.workers w
        WHERE w.id = CAST(:worker AS uuid) AND w.dead_at IS NULL
          AND w.beat_at > now() - make_interval(secs => CAST(:lease AS float8) / 2)
    )
