-- Locks keys that look expired, so that only one client takes each over; `held_keys` is asked again afterwards.
-- locks: idempotency_keys in (route, key) order
-- index: idempotency_keys_pkey
SELECT k.route, k.key
FROM errander.idempotency_keys k
JOIN unnest(CAST(:routes AS text[]), CAST(:keys AS text[])) AS g (route, key) ON k.route = g.route AND k.key = g.key
WHERE k.tenant = :tenant
ORDER BY k.route, k.key
FOR UPDATE OF k
