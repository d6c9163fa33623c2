    -- backoff: seconds before try n + 1 of a row b(backoff, n), as errander's policies compute it. No job waits longer than
    -- a year, and no number overflows, whatever its row says, be it no number at all: the statement is about many jobs. 60 bounds the power.
    (least(
        coalesce(jsonb_path_query_first(b.backoff, '$.max ? (@.type() == "number")')::float8, 31536000), 31536000,
        least(coalesce(jsonb_path_query_first(b.backoff, '$.base ? (@.type() == "number")')::float8, 2), 31536000) * CASE b.backoff ->> 'kind'
            WHEN 'exponential' THEN power(least(coalesce(jsonb_path_query_first(b.backoff, '$.factor ? (@.type() == "number")')::float8, 2), 1000), least(b.n, 60) - 1)
            WHEN 'linear' THEN b.n
            ELSE 1
        END
    ) * (1 - coalesce(jsonb_path_query_first(b.backoff, '$.jitter ? (@.type() == "number")')::float8, 0) * random()))
