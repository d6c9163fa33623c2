    -- backoff: seconds before try n + 1 of a row b(backoff, n), as errander's policies compute it; 60 bounds the power
    (least(
        coalesce((b.backoff ->> 'max')::float8, 'Infinity'),
        (b.backoff ->> 'base')::float8 * CASE b.backoff ->> 'kind'
            WHEN 'exponential' THEN power((b.backoff ->> 'factor')::float8, least(b.n, 60) - 1)
            WHEN 'linear' THEN b.n
            ELSE 1
        END
    ) * (1 - coalesce((b.backoff ->> 'jitter')::float8, 0) * random()))
