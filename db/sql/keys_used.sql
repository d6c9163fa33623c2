-- Notes that API keys were used, each at most once a minute. What another process is just noting is left to it.
-- locks: api_keys in id order, SKIP LOCKED
-- index: api_keys_pkey
WITH used AS MATERIALIZED (
    SELECT k.id
    FROM errander.api_keys k
    WHERE k.id = ANY(CAST(:keys AS text [])) AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute')
    ORDER BY k.id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE errander.api_keys k
SET last_used_at = now()
FROM used u
WHERE k.id = u.id
