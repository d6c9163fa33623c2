-- Who holds these keys, and whether each has expired: all its jobs final for longer than :hours, or pruned.
-- index: idempotency_keys_pkey, jobs_pkey
SELECT k.route, k.key, k.content, k.job_ids, s.expired
FROM unnest(CAST(:routes AS text[]), CAST(:keys AS text[])) AS g (route, key)
JOIN errander.idempotency_keys k ON k.tenant = :tenant AND k.route = g.route AND k.key = g.key
CROSS JOIN LATERAL (
    SELECT
        coalesce(
            bool_and(
                j.id IS NULL
                OR coalesce(j.finished_at < now() - CAST(:hours AS double precision) * interval '1 hour', false)
            ),
            true
        ) AS expired
    FROM unnest(k.job_ids) AS u (id)
    LEFT JOIN errander.jobs j ON j.id = u.id
) AS s
ORDER BY k.route, k.key
