    -- binned: eight bins from one power of two to the next, in milliseconds; what is shorter than one is bin -1
    CASE WHEN t.seconds < 0.001 THEN -1 ELSE CAST(floor(8 * ln(t.seconds / 0.001) / ln(2)) AS integer) END AS bin
