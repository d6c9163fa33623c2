-- Ends expired keys that `lock_keys` holds in this transaction, so that they can be won anew.
-- index: idempotency_keys_pkey
DELETE FROM errander.idempotency_keys k
USING unnest(CAST(:routes AS text[]), CAST(:keys AS text[])) AS g (route, key)
WHERE k.tenant = :tenant AND k.route = g.route AND k.key = g.key
