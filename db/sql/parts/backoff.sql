    -- backoff: seconds before try n + 1 of a row b(backoff, n), as errander's policies compute it. No job waits longer than
    -- a year, and no number overflows, whatever its row says: the statement is about many jobs. 60 bounds the power.
    (least(
        coalesce((b.backoff ->> 'max')::float8, 31536000), 31536000,
        least((b.backoff ->> 'base')::float8, 31536000) * CASE b.backoff ->> 'kind'
            WHEN 'exponential' THEN power(least((b.backoff ->> 'factor')::float8, 1000), least(b.n, 60) - 1)
            WHEN 'linear' THEN b.n
            ELSE 1
        END
    ) * (1 - coalesce((b.backoff ->> 'jitter')::float8, 0) * random()))
